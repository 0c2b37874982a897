package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestWaitingCommandsShareAnEntry(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, calm)
	leader := c.leader()
	before := leader.raft.LastIndex()
	const writers = 400
	large := strings.Repeat("x", MaxCommandBytes)
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			id := fmt.Sprint("m", i)
			switch i % 4 {
			case 1: // the state machine says no
				_, err := leader.Propose(t.Context(), write(""))
				assertThat(t, isAny(err, fsm.Refused(fsm.Invalid)) && !isAny(err, ErrNotLeader, ErrUnknownOutcome), err)
			case 2: // can not be encoded
				_, err := leader.Propose(t.Context(), write("\xff"))
				assertThat(t, err != nil && !isAny(err, ErrNotLeader, ErrUnknownOutcome), err)
			case 3: // too large
				_, err := leader.Propose(t.Context(), write(large))
				assertThat(t, isAny(err, ErrTooLarge), err)
			default:
				_, err := leader.Propose(t.Context(), write(id))
				assertThat(t, err == nil && leader.View().Member(id) != nil, err)
			}
		})
	}
	all.Wait()
	require.Less(t, leader.raft.LastIndex()-before, uint64(writers/4), "log entries")
	c.agree()
}

// assertThat may be called beside the test's goroutine.
func assertThat(t *testing.T, ok bool, err error) {
	t.Helper()
	if !ok {
		t.Errorf("unexpected outcome: %v", err)
	}
}

// A queue without a coalescer shows what the proposer sees.
func loneSession(t *testing.T) (s *Session, end context.CancelFunc) {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	n := &Node{replica: &replica{machine: fsm.New()}, cfg: Config{TickInterval: 5 * time.Second, CommitTimeout: 20 * time.Second}, log: slog.New(slog.DiscardHandler), metrics: newMetrics(), failed: make(chan error, 1)}
	n.stop = func() {}
	s = newSession(n, 7)
	s.done = ctx.Done()
	return s, end
}

func TestContextEndsWhileWaiting(t *testing.T) {
	t.Parallel()
	s, end := loneSession(t)
	defer end()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-s.queue
		cancel()
	}()
	_, err := s.Propose(ctx, write("x"))
	require.ErrorIs(t, err, ErrUnknownOutcome)
	require.ErrorIs(t, err, context.Canceled)

	_, err = s.Propose(ctx, write("x")) // nobody took it
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrUnknownOutcome)
}

func TestProposalsOfAnEndedSession(t *testing.T) {
	t.Parallel()
	s, end := loneSession(t)
	end()
	for range 10 * maxBatch { // more than any queue held
		_, err := s.Propose(t.Context(), write("x"))
		require.ErrorIs(t, err, ErrNotLeader)
	}
}

func TestCommandCarriesItsSession(t *testing.T) {
	t.Parallel()
	s, end := loneSession(t)
	defer end()
	before := time.Now().UnixMilli()
	go func() { _, _ = s.Propose(t.Context(), write("x")) }()
	p := <-s.queue
	p.done <- outcome{}
	var cmd fsmpb.Command
	require.NoError(t, proto.Unmarshal(p.cmd, &cmd))
	require.EqualValues(t, 7, cmd.GetSession())
	require.EqualValues(t, fsm.CommandVersion, cmd.GetVersion())
	require.GreaterOrEqual(t, cmd.GetWallMs(), before)
}

// Whoever waits when leadership is lost learns at once that the outcome is unknown.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.done("before")
	leader := c.leader()
	c.isolate(leader, true)
	var answered atomic.Int64
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			for {
				_, err := leader.Propose(t.Context(), write(fmt.Sprint("w", i)))
				assertThat(t, isAny(err, ErrUnknownOutcome, ErrNotLeader), err)
				if answered.Add(1); !isAny(err, ErrUnknownOutcome) {
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(enqueueTimeout - time.Second): // nothing may wait for a time-out
		t.Error("proposers of an isolated leader still wait")
	}
	c.isolate(leader, false)
	all.Wait()
}

func TestCommandOfAnOldSessionIsRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.done("before")
	old := c.leader().session.Load().Number()
	require.NoError(t, c.leader().raft.LeadershipTransfer().Error())
	var leader *member
	eventually(t, "next session", func() bool {
		leader = c.leader()
		return leader.session.Load() != nil && leader.session.Load().Number() > old
	})
	cmd := write("late")
	cmd.Version, cmd.Session = fsm.CommandVersion, old
	entry, err := proto.Marshal(&fsmpb.Batch{Commands: []*fsmpb.Command{cmd}})
	require.NoError(t, err)
	results, err := applied(leader.raft.Apply(entry, patience), 1)
	require.NoError(t, err)
	require.Equal(t, fsm.StaleSession, results[0].Refusal.Code)
	require.ErrorIs(t, refused(results[0].Refusal), ErrNotLeader)
	require.ErrorIs(t, refused(results[0].Refusal), fsm.Refused(fsm.StaleSession))
	require.Nil(t, leader.View().Member("late"))
}

type fakeFuture struct {
	raft.ApplyFuture
	err      error
	response any
}

func (f fakeFuture) Error() error  { return f.err }
func (f fakeFuture) Response() any { return f.response }

func TestOutcomes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		future fakeFuture
		want   error
	}{
		"not leader":      {fakeFuture{err: raft.ErrNotLeader}, ErrNotLeader},
		"not enqueued":    {fakeFuture{err: raft.ErrEnqueueTimeout}, ErrNotLeader},
		"handing over":    {fakeFuture{err: raft.ErrLeadershipTransferInProgress}, ErrNotLeader},
		"leadership lost": {fakeFuture{err: raft.ErrLeadershipLost}, ErrUnknownOutcome},
		"shut down":       {fakeFuture{err: raft.ErrRaftShutdown}, ErrUnknownOutcome},
		"restored":        {fakeFuture{err: raft.ErrAbortedByRestore}, ErrUnknownOutcome},
		"disk":            {fakeFuture{err: errCut}, ErrUnknownOutcome},
		"not applied":     {fakeFuture{response: errBroken}, ErrUnknownOutcome},
		"no answer":       {fakeFuture{}, ErrUnknownOutcome},
		"too few answers": {fakeFuture{response: appliedEntry{results: []fsm.Result{{}}}}, ErrUnknownOutcome},
		"applied":         {fakeFuture{response: appliedEntry{results: []fsm.Result{{}, {}}}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			results, err := applied(tc.future, 2)
			if tc.want == nil {
				require.NoError(t, err)
				require.Len(t, results, 2)
				return
			}
			require.ErrorIs(t, err, tc.want)
			for _, other := range []error{ErrNotLeader, ErrUnknownOutcome} {
				require.Equal(t, errors.Is(other, tc.want), isAny(err, other))
			}
		})
	}
}

// Readers that wait together share a barrier, and see what was acknowledged.
func TestBarrier(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, calm)
	leader := c.leader()
	var written, readers atomic.Int64
	before := leader.raft.LastIndex()
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			for range 3 {
				seen := written.Load()
				err := leader.Barrier(t.Context())
				assertThat(t, err == nil, err)
				view := leader.View()
				for i := range seen {
					assertThat(t, view.Member(fmt.Sprint("b", i)) != nil, fmt.Errorf("write %d was acknowledged and is not there", i))
				}
				readers.Add(1)
			}
		})
	}
	for i := range 10 {
		_, err := leader.Propose(t.Context(), write(fmt.Sprint("b", i)))
		require.NoError(t, err)
		written.Add(1)
	}
	all.Wait()
	require.EqualValues(t, 300, readers.Load())
	require.Less(t, leader.raft.LastIndex()-before, uint64(150), "log entries of 300 reads and 10 writes")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, leader.Barrier(ctx), context.Canceled)
}
