package node

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keysteward/keysteward/node/raftlog"
)

var (
	descTerm      = describe("term", "Raft term of this node.")
	descSession   = describe("session", "Number of the leadership session that the state of this node is in.")
	descCommitted = describe("commit_index", "Raft index up to which this node knows that a majority has the log.")
	descContact   = describe("leader_contact_age_seconds", "Time since this node last heard from the leader, 0 on the leader; none while it never did.")
	descEntries   = describe("log_entries", "Log entries on this node's disk; those that a snapshot covers are dropped by and by.")
	descSnapIndex = describe("snapshot_index", "Raft index of this node's newest snapshot.")
	descSnapSize  = describe("snapshot_size_bytes", "Size of this node's newest snapshot.")
	descSnapTime  = describe("snapshot_timestamp_seconds", "Unix time at which this node's newest snapshot was made.")
	descFiles     = describe("data_size_bytes", "Size of what is in the data folder: log, snapshots, deposit-events, other.", "file")
	descMembers   = describe("members", "Members of the Raft configuration as this node knows it, by whether they vote.", "vote")
	descLag       = describe("member_lag_entries", "Log entries that a member lacks, on the leader.", "member")
	descSilent    = describe("member_silent", "1 for a member that did not answer the leader the last time, on the leader.", "member")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("keysteward_"+name, help, labels, nil)
}

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
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	s := c.n.Status()
	gauge(descTerm, float64(s.Term))
	gauge(descSession, float64(c.n.View().Meta().GetSession()))
	gauge(descCommitted, float64(s.CommitIndex))
	if s.LastContact >= 0 {
		gauge(descContact, s.LastContact.Seconds())
	}
	voters := 0
	for _, p := range s.Peers {
		if p.Voter {
			voters++
		}
		if s.IsLeader && p.Lag >= 0 {
			gauge(descLag, float64(p.Lag), p.ID)
		}
		if s.IsLeader {
			gauge(descSilent, oneIf(p.Silent), p.ID)
		}
	}
	gauge(descMembers, float64(voters), "yes")
	gauge(descMembers, float64(len(s.Peers)-voters), "no")
	c.collectDisk(gauge)
}

// collectDisk tells of log, snapshots and files.
func (c collector) collectDisk(gauge func(d *prometheus.Desc, value float64, labels ...string)) {
	first, err1 := c.n.store.FirstIndex()
	last, err2 := c.n.store.LastIndex()
	if err1 == nil && err2 == nil { // the log is closed otherwise
		entries := 0.0
		if last > 0 {
			entries = float64(last-first) + 1
		}
		gauge(descEntries, entries)
	}
	if list, err := c.n.snapshots.List(); err == nil && len(list) > 0 { // the newest first
		gauge(descSnapIndex, float64(list[0].Index))
		gauge(descSnapSize, float64(list[0].Size))
		if at, ok := snapshotTime(list[0].ID); ok {
			gauge(descSnapTime, float64(at.UnixMilli())/1000)
		}
	}
	for name, size := range dataSizes(c.n.cfg.DataDir) {
		gauge(descFiles, float64(size), name)
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

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
