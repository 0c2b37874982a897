package node

import "time"

// Status is what a node knows about itself and its cluster at one moment.
type Status struct {
	NodeID   string
	IsLeader bool
	// LeaderID and LeaderAPI (its advertised URL) are empty while no leader is known.
	LeaderID  string
	LeaderAPI string
	Term      uint64
	// AppliedIndex and CommitIndex are Raft indexes.
	AppliedIndex uint64
	CommitIndex  uint64
	// LastContact is the time since the leader was last heard of, 0 on the
	// leader, negative if there never was one.
	LastContact time.Duration
	// Peers are the servers of the Raft configuration, this node included.
	Peers []Peer
}

// Peer is one server of the Raft configuration.
type Peer struct {
	ID    string
	Raft  string
	API   string
	Voter bool
	// Lag is the number of log entries that the peer lacks, -1 where it is not known.
	Lag int64
}

// Check is one line of a node's readiness.
type Check struct {
	Name   string
	OK     bool
	Detail string
}
