package node

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

func TestEveryWordEndsTheSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var said []string
		n := 0
		start := func(context.Context) func() {
			n++
			mine := n
			said = append(said, fmt.Sprint("begin ", mine))
			return func() { said = append(said, fmt.Sprint("end ", mine)) }
		}
		ctx, cancel := context.WithCancel(t.Context())
		leading := make(chan bool)
		var running sync.WaitGroup
		running.Go(func() { follow(ctx, leading, start) })
		for _, word := range []bool{false, true, true, false, false, true} {
			leading <- word
		}
		cancel()
		running.Wait()
		require.Equal(t, []string{"begin 1", "end 1", "begin 2", "end 2", "begin 3", "end 3"}, said)
	})
}

func TestCommit(t *testing.T) {
	t.Parallel()
	transfer := fmt.Errorf("x: %w", raft.ErrLeadershipTransferInProgress)
	for name, tc := range map[string]struct {
		err  error
		lost time.Duration // after which leadership is lost
		want error
		took time.Duration
	}{
		"done":             {nil, time.Hour, nil, 0},
		"stuck":            {transfer, time.Hour, raft.ErrLeadershipTransferInProgress, 20 * time.Second},
		"shut down":        {raft.ErrRaftShutdown, time.Hour, raft.ErrRaftShutdown, 0},
		"leadership lost":  {raft.ErrLeadershipLost, 100 * time.Millisecond, context.DeadlineExceeded, 100 * time.Millisecond},
		"stuck, then lost": {transfer, time.Second, context.DeadlineExceeded, time.Second},
		"lost, told late":  {raft.ErrNotLeader, time.Minute, context.DeadlineExceeded, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, end := loneSession(t)
				defer end()
				s.node.cfg.LeaseTimeout = 40 * time.Millisecond
				ctx, cancel := context.WithTimeout(t.Context(), tc.lost)
				defer cancel()
				began := time.Now()
				err := s.node.commit(ctx, "test", func() error { return tc.err })
				if tc.want == nil {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, tc.want)
				}
				require.InDelta(t, tc.took, time.Since(began), float64(20*time.Millisecond))
			})
		})
	}
}

// Close while leading, cut off from all others, with a duty that waits for the
// outcome of a proposal without any deadline of its own.
func TestCloseWhileProposalsWait(t *testing.T) {
	t.Parallel()
	var answers sync.Map
	duty := DutyFunc("stubborn", func(_ context.Context, s *Session) error {
		for i := 0; ; i++ {
			_, err := s.Propose(context.WithoutCancel(t.Context()), write(strconv.Itoa(i))) //nolint:contextcheck // deaf on purpose
			if err != nil {
				answers.Store(s.Number(), err)
				return err
			}
		}
	})
	c := newCluster(t, 3, func(m *member) { m.duties = []Duty{duty} })
	leader := c.leader()
	session := leader.session.Load().Number()
	eventually(t, "duty works", func() bool { return leader.View().Member("5") != nil })
	for _, m := range c.others(leader) {
		c.wires.set(leader.address, m.address, true)
	}
	began := time.Now()
	leader.down()
	require.Less(t, time.Since(began), enqueueTimeout, "something waited for a time-out")
	err, ok := answers.Load(session)
	require.True(t, ok, "the duty was not waited for")
	require.True(t, isAny(err.(error), ErrUnknownOutcome, ErrNotLeader)) //nolint:forcetypeassert // stored above
}

func TestDutyThatDoesNotStop(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	duty := DutyFunc("deaf", func(context.Context, *Session) error { <-release; return nil })
	c := newCluster(t, 1, func(m *member) { m.duties = []Duty{duty}; m.cfg.CommitTimeout = 200 * time.Millisecond })
	m := c.leader()
	eventually(t, "duty runs", func() bool { return m.busy() == "deaf" })
	err := m.Close()
	require.ErrorIs(t, err, errStuck)
	require.ErrorContains(t, err, "deaf")
	close(release)
	require.Equal(t, err, m.Close(), "closing again says the same")
	m.Node = nil
}

func TestDutyIsStartedAgain(t *testing.T) {
	t.Parallel()
	runs := make(chan uint64, 10)
	duty := DutyFunc("weak", func(_ context.Context, s *Session) error {
		runs <- s.Number()
		return errors.New("stumbled")
	})
	c := newCluster(t, 1, func(m *member) { m.duties = []Duty{duty} })
	first := <-runs
	require.Equal(t, first, <-runs)
	require.True(t, c.leader().journal.has("stumbled"))
}

func TestSealedNodeHandsOver(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, func(m *member) {
		if m.cfg.Name != "n3" {
			m.vault.seal("no key in " + m.cfg.Name)
		}
	})
	require.Equal(t, "n3", c.leader().Name())
	c.done("x")
	// Leadership is forced on the sealed ones; it comes back, past both of them.
	for _, m := range c.members[:2] {
		eventually(t, "hand over to "+m.Name(), func() bool {
			return c.members[2].raft.LeadershipTransferToServer(raft.ServerID(m.ID()), raft.ServerAddress(m.address)).Error() == nil
		})
		require.Equal(t, "n3", c.leader().Name())
	}
	require.True(t, c.members[0].journal.has("no key in n1") || c.members[1].journal.has("no key in n2"))
	for _, m := range c.members[:2] {
		require.Nil(t, m.session.Load())
		check := m.Checks()[4]
		require.False(t, check.OK)
		require.Equal(t, "no key in "+m.Name(), check.Detail)
	}
	c.agree() // they replicate
}

func TestAllSealed(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, func(m *member) { m.vault.seal("no key at all") })
	eventually(t, "somebody says so", func() bool {
		for _, m := range c.members {
			if m.journal.has("may not lead") && m.journal.has("no key at all") {
				return true
			}
		}
		return false
	})
	var leader *member
	eventually(t, "raft leads", func() bool {
		for _, m := range c.members {
			if m.raft.State() == raft.Leader {
				leader = m
			}
		}
		return leader != nil
	})
	for _, m := range c.members {
		require.Nil(t, m.session.Load())
		require.Empty(t, m.Status().LeaderAPI)
	}
	for _, m := range c.members {
		m.vault.unseal() // its key appeared
	}
	c.done("x")
}

// Nodes that are all sealed must not chase each other from term to term.
func TestSealedNodesCalmDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &Node{cfg: Config{HeartbeatTimeout: 100 * time.Millisecond}}
		attempts := 0
		for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(10 * time.Millisecond) { //nolint:forbidigo // fake time
			if n.patient() {
				attempts++
			}
		}
		require.Greater(t, attempts, 10)
		require.Less(t, attempts, 25)
		time.Sleep(time.Minute) //nolint:forbidigo // fake time
		require.True(t, n.patient(), "after a long time at once")
	})
}
