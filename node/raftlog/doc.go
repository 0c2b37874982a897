// Package raftlog keeps what a node has to remember for Raft: the log, its term and its
// votes. All of it is in one Pebble store, whose write-ahead log needs a single sync for
// each append.
//
// The store trusts the disk, and this package does not. Entries and values have checksums
// of their own, and a mark beside them says what had been written: an end of the log that
// is missing is noticed. [Verify] reads everything before any of it is used.
package raftlog
