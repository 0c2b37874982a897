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
	require.Equal(t, map[string]bool{"serving": true, "member": false, "leader": false, "caught-up": false, "disk": true, "unsealed": false}, states(m))
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
	require.Equal(t, 1, leader.Status().FailureTolerance(), "who was not asked is not lost")
	leader.Report(follower.ID(), Heard{Applied: leader.Status().AppliedIndex - 3})
	require.GreaterOrEqual(t, lag(follower), int64(3))
	leader.Report(follower.ID(), Heard{Applied: 1 << 62}) // ahead of what the leader knows of itself
	require.EqualValues(t, 0, lag(follower))
	require.Equal(t, raft.ServerID(follower.ID()), leader.heirs()[0].ID, "who answers is asked first")
	leader.Forget(follower.ID())
	require.EqualValues(t, -1, lag(follower))
	require.Zero(t, leader.Status().FailureTolerance())
	leader.Report(c.others(leader)[1].ID(), Heard{Applied: 1})
	require.Equal(t, raft.ServerID(follower.ID()), leader.heirs()[1].ID, "who is silent is asked last")
	follower.Forget(leader.ID())
	for _, p := range follower.Status().Peers {
		require.EqualValues(t, -1, p.Lag, "only the leader knows")
		require.False(t, p.Silent)
	}
	require.Equal(t, 1, follower.Status().FailureTolerance(), "as configured")
	leader.Report(follower.ID(), Heard{Applied: 1})
	require.Equal(t, 1, leader.Status().FailureTolerance(), "it is back")
	leader.Report(follower.ID(), Heard{Applied: 1, Sealed: true})
	require.Equal(t, 1, leader.Status().FailureTolerance(), "another can lead")
	leader.Report(c.others(leader)[1].ID(), Heard{Applied: 1, Sealed: true})
	require.Zero(t, leader.Status().FailureTolerance(), "nobody else could lead")
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
	require.True(t, inSession(view, Status{NodeID: "other", ElectedID: m.ID(), Term: term}))
	require.False(t, inSession(view, Status{NodeID: "other", ElectedID: m.ID(), Term: term + 1}))
	require.False(t, inSession(view, Status{NodeID: "other", ElectedID: "third", Term: term}))
	require.False(t, inSession(view, Status{NodeID: m.ID(), ElectedID: m.ID(), Term: term}))
	require.False(t, inSession(view, Status{NodeID: "other"}))
}

// What a sealed node says of itself fits together: it was elected, leads nobody,
// and does not count log entries that no leader told of.
func TestASealedNodeAlone(t *testing.T) {
	t.Parallel()
	m := newMember(t, &wires{}, "n1")
	m.vault.seal("no key file")
	m.up()
	require.NoError(t, m.Bootstrap([]raft.Server{{ID: raft.ServerID(m.ID()), Address: raft.ServerAddress(m.address)}}))
	eventually(t, "it is elected", func() bool { return m.Status().ElectedID == m.ID() })
	s := m.Status()
	require.False(t, s.IsLeader)
	require.Empty(t, s.LeaderID)
	require.Empty(t, s.LeaderAPI)
	details := make(map[string]string)
	for _, c := range m.Checks() {
		details[c.Name] = c.Detail
	}
	require.Equal(t, m.ID()+" was elected but has no session: no key file", details["leader"])
	require.Contains(t, details["caught-up"], "no leader has told how far the cluster is")
	require.NotContains(t, details["caught-up"], " of 0 ")
}

func TestWhoLeadsInWords(t *testing.T) {
	t.Parallel()
	m := newMember(t, &wires{}, "n1")
	m.up()
	for want, s := range map[string]Status{
		"no leader is known":                    {},
		"led by n2":                             {LeaderID: "n2", ElectedID: "n2", LeaderAPI: "http://x"},
		"n2 leads and has not told its URL yet": {LeaderID: "n2", ElectedID: "n2"},
		"n2 was elected but has no session yet": {ElectedID: "n2"},
		"n1 was elected but has no session: it is about to begin one": {NodeID: "n1", ElectedID: "n1"},
	} {
		require.Equal(t, want, m.ledBy(s))
	}
}

func TestFailureTolerance(t *testing.T) {
	t.Parallel()
	for voters, want := range []int{0, 0, 0, 1, 1, 2, 2, 3} {
		s := Status{Peers: []Peer{{ID: "learner", Silent: true}}}
		for range voters {
			s.Peers = append(s.Peers, Peer{Voter: true, Lag: -1})
		}
		for silent := range voters + 1 {
			if silent > 0 {
				s.Peers[silent].Silent = true
			}
			require.Equal(t, max(0, want-silent), s.FailureTolerance(), "%d voters, %d silent", voters, silent)
		}
	}
}
