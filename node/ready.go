package node

import (
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/keysteward/keysteward/fsm"
)

// Status says what this node knows about itself and its cluster.
func (n *Node) Status() Status {
	view := n.View()
	s := Status{
		NodeID: n.ID(), IsLeader: n.session.Load() != nil, Term: n.raft.CurrentTerm(),
		AppliedIndex: n.raft.AppliedIndex(), CommitIndex: n.raft.CommitIndex(),
		LastContact: n.lastContact(),
	}
	_, leader := n.raft.LeaderWithID()
	s.LeaderID = string(leader)
	if m := view.Member(s.LeaderID); m != nil && n.inSession(view, s) {
		s.LeaderAPI = m.GetApiUrl()
	}
	if s.IsLeader {
		n.indexes.Store(n.ID(), s.AppliedIndex)
	}
	for _, server := range n.servers() {
		s.Peers = append(s.Peers, n.peer(server, s))
	}
	return s
}

// inSession reports whether the leader has opened its session, as far as this
// node knows: one that may not lead is not worth a caller's way.
func (n *Node) inSession(view *fsm.View, s Status) bool {
	if s.LeaderID == s.NodeID {
		return s.IsLeader
	}
	return view.Meta().GetSessionNode() == s.LeaderID && view.Meta().GetSession() == s.Term
}

func (n *Node) peer(server raft.Server, s Status) Peer {
	p := Peer{ID: string(server.ID), Raft: string(server.Address), Voter: server.Suffrage == raft.Voter, Lag: -1}
	if m := n.View().Member(p.ID); m != nil {
		p.API = m.GetApiUrl()
	}
	if index, ok := n.indexes.Load(p.ID); ok && s.IsLeader {
		if applied, ok := index.(uint64); ok {
			p.Lag = int64(max(s.AppliedIndex, applied) - applied) //nolint:gosec // log entries fit
		}
	}
	return p
}

func (n *Node) servers() []raft.Server {
	f := n.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return f.Configuration().Servers
}

// ReportIndex says how far another member has applied the log; the leader shows
// the difference as that member's lag.
func (n *Node) ReportIndex(nodeID string, index uint64) { n.indexes.Store(nodeID, index) }

// ForgetIndex says that a member did not answer.
func (n *Node) ForgetIndex(nodeID string) { n.indexes.Delete(nodeID) }

func (n *Node) lastContact() time.Duration {
	if n.raft.State() == raft.Leader {
		return 0
	}
	t := n.raft.LastContact()
	if t.IsZero() {
		return -1
	}
	return time.Since(t)
}

// Checks are the lines of the node's readiness: it is ready when all are well.
// None of them is about liveness: a node without a leader is alive.
func (n *Node) Checks() []Check {
	s := n.Status()
	member := slices.ContainsFunc(s.Peers, func(p Peer) bool { return p.ID == s.NodeID })
	reason, usable := n.cfg.Vault.Usable(n.View())
	return []Check{
		{Name: "serving", OK: !n.leaving.Load(), Detail: pick(!n.leaving.Load(), "accepting work", "shutting down")},
		{Name: "member", OK: member, Detail: pick(member, fmt.Sprintf("part of a cluster of %d", len(s.Peers)), "not part of a cluster yet")},
		{Name: "leader", OK: s.LeaderAPI != "", Detail: pick(s.LeaderAPI != "", "led by "+s.LeaderID, "no leader is known")},
		n.caughtUp(s),
		{Name: "unsealed", OK: usable, Detail: pick(usable, "secrets can be opened", reason)},
	}
}

// caughtUp is well once the node has applied everything that was committed when
// it first heard from a leader, and stays so. Its own idea of what is committed
// would not do: it is never further than its own log.
func (n *Node) caughtUp(s Status) Check {
	goal := n.trans.committed.Load()
	if s.IsLeader || goal > 0 && s.AppliedIndex >= goal {
		n.caught.Store(true)
	}
	ok := n.caught.Load()
	return Check{Name: "caught-up", OK: ok, Detail: pick(ok, "has caught up with the leader",
		fmt.Sprintf("applied %d of %d log entries", s.AppliedIndex, goal))}
}

func pick(ok bool, yes, no string) string {
	if ok {
		return yes
	}
	return no
}
