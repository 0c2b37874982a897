package node

import (
	"fmt"
	"time"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Status is what a node knows about itself and its cluster at one moment.
type Status struct {
	NodeID   string
	IsLeader bool
	// LeaderID and LeaderAPI (its advertised URL) are empty while no leader is
	// known, or the one that was elected has no session: it serves nobody.
	LeaderID  string
	LeaderAPI string
	// ElectedID is whom the voters elected, with a session or without.
	ElectedID string
	Term      uint64
	// AppliedIndex and CommitIndex are Raft indexes.
	AppliedIndex uint64
	CommitIndex  uint64
	// LastContact is the time since the leader was last heard of, 0 on the
	// leader, negative if there never was one.
	LastContact time.Duration
	// Sealed is true while this node can open no secrets, and so could not lead.
	Sealed bool
	// LowDisk is true while the disk of this node has less free space than it should.
	LowDisk bool
	// Unfit is true while this node should not lead: for its disk, or because nobody can
	// connect to it.
	Unfit bool
	// Peers are the servers of the Raft configuration, this node included.
	Peers []Peer
}

// Peer is one server of the Raft configuration.
type Peer struct {
	ID    string
	Raft  string
	API   string
	Voter bool
	// Terms of deposits that it has announced.
	Terms string
	// Lag is the number of log entries that the peer lacks, -1 where it is not known.
	Lag int64
	// Silent is true where this node leads, asked the peer and had no answer the
	// last time. False also means that it has not asked yet, or does not lead.
	Silent bool
	// Sealed is true where this node leads and the peer said that it is sealed.
	Sealed bool
	// FeatureLevel is the highest one that the peer's program knows, where this node
	// leads and the peer answered; 0 elsewhere.
	FeatureLevel uint32
	// Mark is the last checkpoint that the peer applied, where this node leads and the
	// peer answered and has one.
	Mark *fsmpb.Mark
}

// FailureTolerance is how many voters may be lost, whichever they are, before the
// cluster stops: those that are not silent, less a majority of all, and no more than
// leave one that is unsealed and could lead. Only a leader knows of silent and sealed
// ones; elsewhere it is what the configuration can bear.
func (s Status) FailureTolerance() int {
	voters, silent, leaders := 0, 0, 0
	for _, p := range s.Peers {
		if p.Voter {
			voters++
		}
		if p.Voter && p.Silent {
			silent++
		}
		if p.Voter && !p.Silent && !p.Sealed {
			leaders++
		}
	}
	return max(0, min(Tolerance(voters, silent), leaders-1))
}

// PromoteWithin is how many log entries a member may lack that is let vote.
const PromoteWithin = 64

// Waiting says in words why a member does not vote yet, empty for a voter. Only a
// leader knows more than that.
func (p Peer) Waiting() string {
	switch {
	case p.Voter:
		return ""
	case p.Silent:
		return "does not answer"
	case p.Lag < 0:
		return "how far it is is not known here"
	case p.Lag > PromoteWithin:
		return fmt.Sprintf("catches up: it lacks %d log entries", p.Lag)
	}
	return "is about to vote"
}

// Check is one line of a node's readiness.
type Check struct {
	Name   string
	OK     bool
	Detail string
}
