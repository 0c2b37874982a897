package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// Configuration is who takes part in the log, as this node knows it. It may not be
// committed yet, and another one may be in force elsewhere.
type Configuration struct {
	// Index of the committed log entry that made it, on a leader, and 0 elsewhere. A
	// change names it, and is refused if there was or is another change.
	Index   uint64
	Members []Member
}

// Member takes part in the log.
type Member struct {
	ID      string
	Address string // host:port
	Voter   bool
}

// Name of the node behind an ID, which is minted as NAME-SUFFIX; empty if the ID is
// none.
func (m Member) Name() string { return NameOf(m.ID) }

// NameOf is the name of the node that has this ID, empty if it is no node's ID.
func NameOf(id string) string {
	i := strings.LastIndexByte(id, '-')
	if i < 1 || len(id)-i-1 != 2*suffixBytes {
		return ""
	}
	return id[:i]
}

// Find returns the member with this ID.
func (c Configuration) Find(id string) (m Member, found bool) {
	i := slices.IndexFunc(c.Members, func(m Member) bool { return m.ID == id })
	if i < 0 {
		return m, false
	}
	return c.Members[i], true
}

// Voters counts those whose word counts.
func (c Configuration) Voters() (n int) {
	for _, m := range c.Members {
		if m.Voter {
			n++
		}
	}
	return n
}

// Without is the configuration less one member.
func (c Configuration) Without(id string) Configuration {
	less := Configuration{Index: c.Index}
	for _, m := range c.Members {
		if m.ID != id {
			less.Members = append(less.Members, m)
		}
	}
	return less
}

// Configuration returns the configuration that the node goes by. It has no members
// before the node is part of a cluster.
//
// The library tells no index, and takes 0 for "whatever there is"; so it is taken from
// what was committed. It is read before the members: if they are of a later entry, the
// index is not theirs, and a change that names it is refused.
func (n *Node) Configuration() (Configuration, error) {
	var c Configuration
	if n.raft.State() == raft.Leader {
		c.Index = n.membersIndex()
	}
	f := n.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return c, fmt.Errorf("members: %w", err)
	}
	for _, s := range f.Configuration().Servers {
		c.Members = append(c.Members, Member{ID: string(s.ID), Address: string(s.Address), Voter: s.Suffrage == raft.Voter})
	}
	return c, nil
}

// membersIndex is the index of the newest committed entry about members, 0 if it can
// not be told.
func (n *Node) membersIndex() uint64 {
	if i := n.replica.members.Load(); i > 0 {
		return i
	}
	list, err := n.snapshots.List() // the newest first
	if err != nil || len(list) == 0 {
		return 0
	}
	return list[0].ConfigurationIndex
}

// changeTimeout is how long a change of members may wait for the one before it.
const changeTimeout = 2 * time.Second

// AddLearner makes a node a member that does not vote, if the configuration is still
// the one of this index. The error wraps [ErrUnknownOutcome] if it can not be told
// whether that happened, and [ErrNotLeader] if this node does not lead; after any other
// nothing was changed either. Adding it again changes nothing.
func (n *Node) AddLearner(id, address string, index uint64) error {
	return n.change("add "+id, index, func() raft.IndexFuture {
		return n.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(address), index, changeTimeout)
	})
}

// Promote lets a member vote; otherwise it is like [Node.AddLearner]. The member
// should have caught up: from now on a majority may need its word.
func (n *Node) Promote(id, address string, index uint64) error {
	return n.change("let "+id+" vote", index, func() raft.IndexFuture {
		return n.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(address), index, changeTimeout)
	})
}

// Remove takes a member out; otherwise it is like [Node.AddLearner]. Whether the
// others can go on without it is the caller's to know.
func (n *Node) Remove(id string, index uint64) error {
	return n.change("remove "+id, index, func() raft.IndexFuture {
		return n.raft.RemoveServer(raft.ServerID(id), index, changeTimeout)
	})
}

func (n *Node) change(what string, index uint64, begin func() raft.IndexFuture) error {
	if index == 0 {
		return fmt.Errorf("%s: %w: which members there are is not known", what, ErrNotLeader)
	}
	err := begin().Error()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrRaftShutdown):
		return fmt.Errorf("%s: %w: %w", what, ErrUnknownOutcome, err)
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%s: %w: %w", what, ErrNotLeader, err)
	default: // not enqueued, or the configuration was another one: not written
		return fmt.Errorf("%s: %w", what, err)
	}
}
