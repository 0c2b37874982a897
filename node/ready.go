package node

import (
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Status says what this node knows about itself and its cluster.
func (n *Node) Status() Status {
	view := n.View()
	s := Status{
		NodeID: n.ID(), IsLeader: n.Leads(), Term: n.raft.CurrentTerm(),
		AppliedIndex: n.raft.AppliedIndex(), CommitIndex: n.raft.CommitIndex(),
		LastContact: n.LastContact(),
	}
	_, usable := n.cfg.Vault.Usable(view)
	s.Sealed = !usable
	s.LowDisk, s.Unfit = n.disk.isLow(), n.unfit() != ""
	_, elected := n.raft.LeaderWithID()
	s.ElectedID = string(elected)
	if inSession(view, s) {
		s.LeaderID = s.ElectedID
		s.LeaderAPI = view.Member(s.LeaderID).GetApiUrl()
	}
	if s.IsLeader {
		n.Report(n.ID(), Heard{Applied: s.AppliedIndex, Sealed: s.Sealed, LowDisk: s.LowDisk, FeatureLevel: fsm.FeatureLevel, Mark: view.Meta().GetMark()})
	}
	for _, server := range n.servers() {
		s.Peers = append(s.Peers, n.peer(server, s))
	}
	return s
}

// inSession reports whether who was elected has opened its session, as far as
// this node knows: one that may not lead is not worth a caller's way.
func inSession(view *fsm.View, s Status) bool {
	if s.ElectedID == s.NodeID {
		return s.IsLeader
	}
	return s.ElectedID != "" && view.Meta().GetSessionNode() == s.ElectedID && view.Meta().GetSession() == s.Term
}

func (n *Node) peer(server raft.Server, s Status) Peer {
	p := Peer{ID: string(server.ID), Raft: string(server.Address), Voter: server.Suffrage == raft.Voter, Lag: -1}
	if m := n.View().Member(p.ID); m != nil {
		p.API, p.Terms = m.GetApiUrl(), m.GetTerms()
	}
	if heard, ok := n.heardOf(p.ID); ok && s.IsLeader {
		if p.Silent = heard.silent; !heard.silent {
			p.Sealed, p.FeatureLevel, p.Mark = heard.Sealed, heard.FeatureLevel, heard.Mark
			p.Lag = int64(max(s.AppliedIndex, heard.Applied) - heard.Applied) //nolint:gosec // log entries fit
		}
	}
	return p
}

// Heard is what a member answered when it was asked last.
type Heard struct {
	Applied uint64 // how far it has applied the log
	Sealed  bool
	LowDisk bool
	// Unfit is true if it should not lead for another reason: nobody could connect to it.
	Unfit bool
	// FeatureLevel is the highest one that its program knows, 0 for one from before there were any.
	FeatureLevel uint32
	// Mark is the last checkpoint that it applied, with its own running hash; nil without.
	Mark *fsmpb.Mark
}

// heard is what the last question to a member brought.
type heard struct {
	Heard

	silent bool
}

// heardOf is not ok while the member was not asked in this leadership.
func (n *Node) heardOf(nodeID string) (h heard, ok bool) {
	v, _ := n.indexes.Load(nodeID)
	h, ok = v.(heard)
	return h, ok
}

func (n *Node) servers() []raft.Server {
	f := n.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return f.Configuration().Servers
}

// Report says what another member answered. How far it has applied the log the leader
// shows as that member's lag.
func (n *Node) Report(nodeID string, what Heard) { n.indexes.Store(nodeID, heard{Heard: what}) }

// Forget says that a member was asked and did not answer; the leader shows
// it as silent and does not count on it.
func (n *Node) Forget(nodeID string) {
	h, _ := n.heardOf(nodeID)
	h.silent = true // what it answered before is kept
	n.indexes.Store(nodeID, h)
}

// Leads is IsLeader of [Node.Status], for who wants to know nothing else, and often.
func (n *Node) Leads() bool { return n.session.Load() != nil }

// LastContact is that of [Node.Status].
func (n *Node) LastContact() time.Duration {
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
	reason, usable := n.cfg.Vault.Usable(n.View())
	checks := []Check{
		{Name: "serving", OK: !n.leaving.Load(), Detail: pick(!n.leaving.Load(), "accepting work", "shutting down")},
		membership(s),
		{Name: "leader", OK: s.LeaderAPI != "", Detail: n.ledBy(s)},
		n.caughtUp(s),
		{Name: "unsealed", OK: usable, Detail: pick(usable, "secrets can be opened", reason)},
		n.disk.check(),
	}
	if n.cfg.Checks != nil {
		checks = append(checks, n.cfg.Checks()...)
	}
	return checks
}

// membership is well for one who votes: whoever restarts nodes one after the other
// must not count on one that does not.
func membership(s Status) Check {
	c := Check{Name: "member", Detail: "not part of a cluster"}
	for _, p := range s.Peers {
		if p.ID != s.NodeID {
			continue
		}
		if c.OK = p.Voter; c.OK {
			c.Detail = fmt.Sprintf("part of a cluster of %d", len(s.Peers))
		} else {
			c.Detail = fmt.Sprintf("part of a cluster of %d, and does not vote yet", len(s.Peers))
		}
	}
	return c
}

// ledBy says who leads, or what is missing for that.
func (n *Node) ledBy(s Status) string {
	switch {
	case s.LeaderAPI != "":
		return "led by " + s.LeaderID
	case s.LeaderID != "":
		return s.LeaderID + " leads and has not told its URL yet"
	case s.ElectedID == "":
		return "no leader is known"
	case s.ElectedID != s.NodeID:
		return s.ElectedID + " was elected but has no session yet"
	}
	reason, ok := n.mayLead()
	return fmt.Sprintf("%s was elected but has no session: %s", s.ElectedID, pick(ok, "it is about to begin one", reason))
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
	detail := fmt.Sprintf("applied %d of %d log entries", s.AppliedIndex, goal)
	switch {
	case ok:
		detail = "has caught up with the leader"
	case goal == 0:
		detail = fmt.Sprintf("applied log entry %d; no leader has told how far the cluster is", s.AppliedIndex)
	}
	return Check{Name: "caught-up", OK: ok, Detail: detail}
}

func pick(ok bool, yes, no string) string {
	if ok {
		return yes
	}
	return no
}
