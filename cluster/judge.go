package cluster

import (
	"fmt"

	"github.com/keysteward/keysteward/node"
)

// court is what a leader knows when somebody asks to be let in.
type court struct {
	clusterID string
	// before is the cluster's ID before a backup of another one was restored, empty if
	// none was: who was away since then knows it under that.
	before string
	config node.Configuration
	// level is the cluster's feature level.
	level uint32
	// founders and pattern say who may be a member.
	founders []Peer
	pattern  Pattern
	// wanted is how many replicas there are to be, negative where nobody says.
	wanted  int
	ordinal func(name string) (int, bool)
	// invited: an operator said that the one that is judged may be a member.
	invited bool
	// alive are the IDs of the members that answered this leader when it asked last,
	// and its own.
	alive map[string]bool
}

// deed is what a leader does after its verdict.
type deed struct {
	remove string // the ID that the node had before it lost its disk
	add    bool
}

const maxMembers = 9

// judge decides by what is known; whether the node is where it says remains to be
// asked before any deed.
func (c *court) judge(q joinRequest) (joinAnswer, deed) {
	say := func(v verdict, format string, args ...any) (joinAnswer, deed) {
		return joinAnswer{Verdict: v, ClusterID: c.clusterID, Detail: fmt.Sprintf(format, args...)}, deed{}
	}
	m, member := c.config.Find(q.ID)
	switch {
	case q.ClusterID != "" && q.ClusterID != c.clusterID && q.ClusterID != c.before:
		return say(verdictOther, "%s is of cluster %s, and this is cluster %s: two clusters under one name", q.ID, q.ClusterID, c.clusterID)
	case member && m.Address != q.Raft:
		return say(verdictRefused, "%s is known at %s, not at %s", q.ID, m.Address, q.Raft)
	case member:
		return say(verdictMember, "")
	case q.HasState && !q.Joining && q.ClusterID == "":
		return say(verdictOther, "%s is no member of cluster %s and has a log of which it does not know the cluster", q.ID, c.clusterID)
	case q.HasState && !q.Joining:
		return say(verdictRemoved, "%s is no member of cluster %s any more", q.ID, c.clusterID)
	case !c.mayBeMember(q):
		return say(verdictRefused, "%s at %s is none of the founders, nor of their kind, nor the name of a member: an operator can let it in (keysteward cluster join %s)", q.Name, q.Raft, q.Raft)
	case !c.isWanted(q.Name):
		return say(verdictWait, "%s is not wanted: %d replicas are", q.Name, c.wanted)
	case q.ClusterID == "":
		return say(verdictInvited, "")
	}
	return c.place(q)
}

// place decides where among the members a node belongs.
func (c *court) place(q joinRequest) (joinAnswer, deed) {
	say := func(v verdict, format string, args ...any) (joinAnswer, deed) {
		return joinAnswer{Verdict: v, ClusterID: c.clusterID, Detail: fmt.Sprintf(format, args...)}, deed{}
	}
	if q.FeatureLevel < c.level {
		return say(verdictRefused, "the program of %s knows feature level %d, and the cluster is at %d: upgrade that node first", q.ID, q.FeatureLevel, c.level)
	}
	for _, m := range c.config.Members {
		sameName, samePlace := m.Name() == q.Name, m.Address == q.Raft
		switch {
		case sameName && !samePlace:
			return say(verdictRefused, "%s is at %s, and %s has its name and is at %s", m.ID, m.Address, q.ID, q.Raft)
		case samePlace && !sameName:
			return say(verdictRefused, "%s is at %s already", m.ID, m.Address)
		case samePlace:
			if why := c.canLose(m); why != "" {
				return say(verdictWait, "%s has to be removed first: %s", m.ID, why)
			}
			return joinAnswer{Verdict: verdictAdded, ClusterID: c.clusterID}, deed{remove: m.ID, add: true}
		}
	}
	if len(c.config.Members) >= maxMembers {
		return say(verdictRefused, "there are %d members already, which is as many as there may be", len(c.config.Members))
	}
	return joinAnswer{Verdict: verdictAdded, ClusterID: c.clusterID}, deed{add: true}
}

// mayBeMember knows founders, those of their kind, and names and addresses of members.
func (c *court) mayBeMember(q joinRequest) bool {
	p := Peer{Name: q.Name, Raft: q.Raft}
	if c.invited || c.pattern.Fits(p) {
		return true
	}
	for _, f := range c.founders {
		if f == p {
			return true
		}
	}
	for _, m := range c.config.Members {
		if m.Name() == q.Name && m.Address == q.Raft {
			return true
		}
	}
	return false
}

func (c *court) isWanted(name string) bool {
	if c.wanted < 0 || c.ordinal == nil {
		return true
	}
	i, ok := c.ordinal(name)
	return !ok || i < c.wanted
}

// canLose says why a member can not be removed now, empty if it can: those who remain
// and answer have to be a majority of those who remain, or nobody could be added again.
func (c *court) canLose(m node.Member) string {
	if !m.Voter {
		return ""
	}
	rest := c.config.Without(m.ID)
	alive := 0
	for _, r := range rest.Members {
		if r.Voter && c.alive[r.ID] {
			alive++
		}
	}
	if voters := rest.Voters(); alive < voters/2+1 {
		return fmt.Sprintf("%d of the other %d voters answer, which is no majority", alive, voters)
	}
	return ""
}

// mayNotVote says why a member can not be let vote yet, by what answered at its address
// when everything up to commit was committed; empty if it can. A vote that nobody gives
// only makes majorities harder to come by.
func (c *court) mayNotVote(m node.Member, id Identity, err error, commit uint64) string {
	switch {
	case err != nil:
		return silence(err)
	case id.ID != m.ID:
		return fmt.Sprintf("does not answer: %s is at %s", id.ID, m.Address)
	case id.ClusterID != c.clusterID:
		return "does not know yet that it is of cluster " + c.clusterID
	case id.Applied+node.PromoteWithin < commit:
		return fmt.Sprintf("catches up: it lacks %d log entries", commit-id.Applied)
	}
	return ""
}

// canNotLead says why a member should not be handed the leadership, by what answered at
// its address; empty if it should.
func canNotLead(m node.Member, id Identity, err error) string {
	switch {
	case !m.Voter:
		return "does not vote"
	case err != nil:
		return silence(err)
	case id.ID != m.ID:
		return fmt.Sprintf("lost its disk: %s is at %s", id.ID, m.Address)
	case id.Sealed:
		return "is sealed: it has no usable key-encryption key"
	case id.LowDisk:
		return "has too little free space on its disk"
	case id.Unfit:
		return "should not lead: its /readyz says why"
	}
	return ""
}
