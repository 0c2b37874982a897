package node

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// states are the checks by name.
func states(m *member) map[string]bool {
	s := make(map[string]bool)
	for _, c := range m.Checks() {
		s[c.Name] = c.OK
	}
	return s
}

func TestChecksOfALoneNode(t *testing.T) {
	t.Parallel()
	m := newMember(t, &wires{}, "n1")
	m.vault.seal("no key")
	m.up()
	require.Equal(t, map[string]bool{"serving": true, "member": false, "leader": false, "caught-up": false, "unsealed": false}, states(m))
	s := m.Status()
	require.False(t, s.IsLeader)
	require.Empty(t, s.LeaderID)
	require.Empty(t, s.Peers)
	require.Negative(t, s.LastContact)
	require.False(t, m.HasState())
	require.False(t, m.Founded())
	for _, c := range m.Checks() {
		require.NotEmpty(t, c.Detail)
	}
}

// announce records the API of every member, as package cluster does.
func announce(t *testing.T, c *testCluster) {
	t.Helper()
	for _, m := range c.members {
		cmd := &fsmpb.Command{Body: &fsmpb.Command_SetMember{SetMember: &fsmpb.SetMember{Member: &fsmpb.Member{
			NodeId: m.ID(), Name: m.Name(), RaftAddress: m.address, ApiUrl: m.cfg.APIAdvertise,
		}}}}
		eventually(t, "announce", func() bool {
			_, err := c.leader().Propose(t.Context(), cmd)
			return err == nil
		})
	}
	c.agree()
}

func TestChecksOfACluster(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	announce(t, c)
	well := map[string]bool{"serving": true, "member": true, "leader": true, "caught-up": true, "unsealed": true}
	for _, m := range c.members {
		eventually(t, m.Name()+" gets ready", func() bool {
			for name := range well {
				if !states(m)[name] {
					return false
				}
			}
			return true
		})
	}
	leader := c.leader()
	status := leader.Status()
	require.True(t, status.IsLeader)
	require.Equal(t, leader.ID(), status.LeaderID)
	require.Equal(t, leader.cfg.APIAdvertise, status.LeaderAPI)
	require.Zero(t, status.LastContact)
	require.Len(t, status.Peers, 3)

	follower := c.others(leader)[0]
	other := c.others(leader)[1]
	require.Equal(t, leader.cfg.APIAdvertise, follower.Status().LeaderAPI)
	require.GreaterOrEqual(t, follower.Status().LastContact, time.Duration(0))
	other.down()
	leader.down()
	eventually(t, "the loss of the leader shows", func() bool { return !states(follower)["leader"] })
	require.True(t, states(follower)["caught-up"], "stays so")
	require.NoError(t, follower.StepDown(t.Context()))
	require.False(t, states(follower)["serving"])
}

func TestLag(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	announce(t, c)
	leader := c.leader()
	follower := c.others(leader)[0]
	lag := func(of *member) int64 {
		for _, p := range leader.Status().Peers {
			if p.ID == of.ID() {
				require.Equal(t, of.cfg.APIAdvertise, p.API)
				require.True(t, p.Voter)
				return p.Lag
			}
		}
		return -2
	}
	require.EqualValues(t, -1, lag(follower), "not known")
	require.EqualValues(t, 0, lag(leader))
	leader.ReportIndex(follower.ID(), leader.Status().AppliedIndex-3)
	require.GreaterOrEqual(t, lag(follower), int64(3))
	leader.ReportIndex(follower.ID(), 1<<62) // ahead of what the leader knows of itself
	require.EqualValues(t, 0, lag(follower))
	require.Equal(t, raft.ServerID(follower.ID()), leader.heirs()[0].ID, "who answers is asked first")
	leader.ForgetIndex(follower.ID())
	require.EqualValues(t, -1, lag(follower))
	for _, p := range follower.Status().Peers {
		require.EqualValues(t, -1, p.Lag, "only the leader knows")
	}
}

// A node with a long way to go is not ready when it first hears from the
// leader; by its own commit index it would be.
func TestCaughtUp(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.done("x")
	m := c.others(c.leader())[0]
	m.caught.Store(false)
	m.trans.committed.Store(0)
	require.False(t, m.caughtUp(Status{AppliedIndex: 5, CommitIndex: 5}).OK)
	m.trans.committed.Store(1 << 40)
	check := m.caughtUp(Status{AppliedIndex: 5, CommitIndex: 5})
	require.False(t, check.OK)
	require.Equal(t, "applied 5 of 1099511627776 log entries", check.Detail)
	require.True(t, m.caughtUp(Status{AppliedIndex: 1 << 40}).OK)
	require.True(t, m.caughtUp(Status{}).OK, "stays so")
}

// A sealed node that leads Raft without a session is nobody to send callers to.
func TestLeaderWithoutASession(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	announce(t, c)
	m := c.leader()
	view := m.View()
	term := view.Meta().GetSession()
	require.True(t, m.inSession(view, Status{NodeID: "other", LeaderID: m.ID(), Term: term}))
	require.False(t, m.inSession(view, Status{NodeID: "other", LeaderID: m.ID(), Term: term + 1}))
	require.False(t, m.inSession(view, Status{NodeID: "other", LeaderID: "third", Term: term}))
	require.False(t, m.inSession(view, Status{NodeID: m.ID(), LeaderID: m.ID(), Term: term}))
}
