package node

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keysteward/keysteward/node/gauge"
	"github.com/keysteward/keysteward/node/raftlog"
)

var (
	descTerm      = gauge.Desc("term", "Raft term of this node.")
	descSession   = gauge.Desc("session", "Number of the leadership session that the state of this node is in.")
	descCommitted = gauge.Desc("commit_index", "Raft index up to which this node knows that a majority has the log.")
	descContact   = gauge.Desc("leader_contact_age_seconds", "Time since this node last heard from the leader, 0 on the leader; none while it never did.")
	descEntries   = gauge.Desc("log_entries", "Log entries on this node's disk; those that a snapshot covers are dropped by and by.")
	descSnapIndex = gauge.Desc("snapshot_index", "Raft index of this node's newest snapshot.")
	descSnapSize  = gauge.Desc("snapshot_size_bytes", "Size of this node's newest snapshot.")
	descSnapTime  = gauge.Desc("snapshot_timestamp_seconds", "Unix time at which this node's newest snapshot was made.")
	descFiles     = gauge.Desc("data_size_bytes", "Size of what is in the data folder: log, snapshots, deposit-events, other.", "file")
	descMembers   = gauge.Desc("members", "Members of the Raft configuration as this node knows it, by whether they vote.", "vote")
	descLag       = gauge.Desc("member_lag_entries", "Log entries that a member lacks, on the leader.", "member")
	descSilent    = gauge.Desc("member_silent", "1 for a member that did not answer the leader the last time, on the leader.", "member")
)

// Metrics are those of the node: what it did, and how it is at the moment of a scrape.
func (n *Node) Metrics() prometheus.Collector { return collector{n} }

type collector struct{ n *Node }

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.n.metrics.all() {
		m.Describe(ch)
	}
	for _, d := range []*prometheus.Desc{
		descTerm, descSession, descCommitted, descContact, descEntries, descSnapIndex, descSnapSize, descSnapTime, descFiles, descMembers, descLag, descSilent,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	for _, m := range c.n.metrics.all() {
		m.Collect(ch)
	}
	tell := gauge.To(ch)
	s := c.n.Status()
	tell(descTerm, float64(s.Term))
	tell(descSession, float64(c.n.View().Meta().GetSession()))
	tell(descCommitted, float64(s.CommitIndex))
	if s.LastContact >= 0 {
		tell(descContact, s.LastContact.Seconds())
	}
	voters := 0
	for _, p := range s.Peers {
		if p.Voter {
			voters++
		}
		if s.IsLeader && p.Lag >= 0 {
			tell(descLag, float64(p.Lag), p.ID)
		}
		if s.IsLeader {
			tell(descSilent, gauge.OneIf(p.Silent), p.ID)
		}
	}
	tell(descMembers, float64(voters), "yes")
	tell(descMembers, float64(len(s.Peers)-voters), "no")
	c.collectDisk(tell)
}

// collectDisk tells of log, snapshots and files.
func (c collector) collectDisk(tell gauge.Tell) {
	first, err1 := c.n.store.FirstIndex()
	last, err2 := c.n.store.LastIndex()
	if err1 == nil && err2 == nil { // the log is closed otherwise
		entries := 0.0
		if last > 0 {
			entries = float64(last-first) + 1
		}
		tell(descEntries, entries)
	}
	if list, err := c.n.snapshots.List(); err == nil && len(list) > 0 { // the newest first
		tell(descSnapIndex, float64(list[0].Index))
		tell(descSnapSize, float64(list[0].Size))
		if at, ok := snapshotTime(list[0].ID); ok {
			tell(descSnapTime, float64(at.UnixMilli())/1000)
		}
	}
	for name, size := range dataSizes(c.n.cfg.DataDir) {
		tell(descFiles, float64(size), name)
	}
}

// snapshotTime reads when a snapshot was made off its ID, TERM-INDEX-MILLISECONDS.
func snapshotTime(id string) (at time.Time, ok bool) {
	ms, err := strconv.ParseInt(id[strings.LastIndexByte(id, '-')+1:], 10, 64)
	return time.UnixMilli(ms), err == nil
}

// dataSizes are the bytes of what is in the data folder. What goes away meanwhile counts
// as nothing.
func dataSizes(folder string) map[string]int64 {
	sizes := map[string]int64{"log": 0, "snapshots": 0, "deposit-events": 0, "other": 0}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return sizes
	}
	for _, e := range entries {
		name := "other"
		switch {
		case e.Name() == raftlog.Folder:
			name = "log"
		case e.Name() == snapshotsFolder:
			name = "snapshots"
		case strings.HasPrefix(e.Name(), "deposit-events"):
			name = "deposit-events"
		}
		sizes[name] += sizeOf(filepath.Join(folder, e.Name()))
	}
	return sizes
}

func sizeOf(path string) (sum int64) {
	_ = filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil //nolint:nilerr // it is gone
		}
		if info, err := e.Info(); err == nil {
			sum += info.Size()
		}
		return nil
	})
	return sum
}
