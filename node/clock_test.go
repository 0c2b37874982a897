package node

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestClusterTimeGrows(t *testing.T) {
	t.Parallel()
	began := time.Now()
	c := newCluster(t, 3, func(m *member) { m.cfg.TickInterval = 10 * time.Millisecond })
	grown := func() bool { return c.leader().View().Meta().GetClusterTimeMs() >= 50 }
	eventually(t, "cluster time stands still", grown)
	_ = c.leader().raft.LeadershipTransfer().Error()
	at := c.leader().View().Meta().GetClusterTimeMs()
	eventually(t, "cluster time stands still", func() bool { return c.leader().View().Meta().GetClusterTimeMs() > at })
	require.LessOrEqual(t, c.leader().View().Meta().GetClusterTimeMs(), uint64(time.Since(began).Milliseconds()), "counted twice")
}

// answer takes one tick from the queue, in fake time, and returns its length.
func answer(t *testing.T, s *Session, err error) time.Duration {
	t.Helper()
	p := <-s.queue
	var cmd fsmpb.Command
	require.NoError(t, proto.Unmarshal(p.cmd, &cmd))
	p.done <- outcome{err: err}
	require.Equal(t, "duty", cmd.GetCaller().GetRole())
	return time.Duration(cmd.GetTick().GetElapsedMs()) * time.Millisecond
}

func TestTicksNeverCountTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, end := loneSession(t)
		defer end()
		go s.tick(t.Context())
		require.Equal(t, 5*time.Second, answer(t, s, nil))
		require.Equal(t, 5*time.Second, answer(t, s, ErrUnknownOutcome)) // may have counted
		require.Equal(t, 5*time.Second, answer(t, s, ErrNotLeader))      // surely has not
		require.Equal(t, 10*time.Second, answer(t, s, nil))
		require.Equal(t, 5*time.Second, answer(t, s, nil))
	})
}

// A leader that leads on and can not commit has to be restarted; one that lost
// its leadership, or was paused, has not.
func TestPulse(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err  error
		fail bool
	}{
		"stuck hand-over": {fmt.Errorf("%w: %w", ErrNotLeader, raft.ErrLeadershipTransferInProgress), true},
		"full queue":      {fmt.Errorf("%w: %w", ErrNotLeader, raft.ErrEnqueueTimeout), true},
		"lost":            {fmt.Errorf("%w: %w", ErrUnknownOutcome, raft.ErrLeadershipLost), false},
		"not leader":      {fmt.Errorf("%w: %w", ErrNotLeader, raft.ErrNotLeader), false},
		"well":            {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, end := loneSession(t)
				defer end()
				go s.tick(t.Context())
				for range 5 {
					answer(t, s, tc.err)
				}
				synctest.Wait()
				require.Equal(t, tc.fail, len(s.node.failed) == 1)
				if tc.fail {
					require.ErrorIs(t, <-s.node.failed, tc.err)
				}
			})
		})
	}
}

func TestTickThatIsNeverAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, end := loneSession(t)
		defer end()
		go func() {
			for {
				select {
				case <-s.queue:
				case <-t.Context().Done():
					return
				}
			}
		}()
		go s.tick(t.Context())
		require.ErrorIs(t, <-s.node.failed, ErrUnknownOutcome)
	})
}
