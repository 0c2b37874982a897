package node

import (
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics count what a node does. It is a prometheus.Collector.
type metrics struct {
	commands      *prometheus.CounterVec
	commandTook   prometheus.Histogram
	entryCommands prometheus.Histogram
	commitTook    prometheus.Histogram
	applyTook     prometheus.Histogram
	barrierTook   prometheus.Histogram
	snapshotTook  *prometheus.HistogramVec
	candidacies   prometheus.Counter
	leaderChanges prometheus.Counter
}

func newMetrics() *metrics {
	quick := prometheus.ExponentialBuckets(0.00025, 2, 16) // to 8 s
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "keysteward", Name: name, Help: help, Buckets: buckets})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "keysteward", Name: name, Help: help})
	}
	return &metrics{
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "keysteward", Name: "commands_total",
			Help: "Commands that this node proposed as leader, by kind and outcome: done, refused, not-written, unknown.",
		}, []string{"kind", "outcome"}),
		commandTook:   histogram("command_duration_seconds", "Time from proposing a command to its outcome.", quick),
		entryCommands: histogram("log_entry_commands", "Commands that share a log entry.", prometheus.ExponentialBuckets(1, 2, 9)),
		commitTook:    histogram("commit_duration_seconds", "Time from writing a log entry until a majority has it, on the leader.", quick),
		applyTook:     histogram("apply_duration_seconds", "Time that applying a log entry takes, on the leader.", prometheus.ExponentialBuckets(0.00001, 4, 10)),
		barrierTook:   histogram("read_barrier_duration_seconds", "Time that a linearizable read waits for its barrier.", quick),
		snapshotTook: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "keysteward", Name: "snapshot_duration_seconds",
			Help: "Time that writing a snapshot takes, by result: done, failed.", Buckets: prometheus.ExponentialBuckets(0.01, 3, 10),
		}, []string{"result"}),
		candidacies:   counter("candidacies_total", "How often this node stood for election."),
		leaderChanges: counter("leader_changes_total", "How often this node saw another leader than before."),
	}
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{
		m.commands, m.commandTook, m.entryCommands, m.commitTook, m.applyTook, m.barrierTook, m.snapshotTook, m.candidacies, m.leaderChanges,
	}
}

// entry counts a log entry of this many commands.
func (m *metrics) entry(commands int, way passage) {
	m.entryCommands.Observe(float64(commands))
	if !way.began.IsZero() {
		m.commitTook.Observe(way.began.Sub(way.enqueued).Seconds())
		m.applyTook.Observe(way.ended.Sub(way.began).Seconds())
	}
}

func (m *metrics) snapshot(err error, took time.Duration) {
	if m == nil {
		return
	}
	result := "done"
	if err != nil {
		result = "failed"
	}
	m.snapshotTook.WithLabelValues(result).Observe(took.Seconds())
}

// watchElections counts elections, until the node closes. What comes too quickly is not
// counted: Raft waits for nobody who only counts.
func (n *Node) watchElections() {
	seen := make(chan raft.Observation, 64)
	observer := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.RaftState, raft.LeaderObservation:
			return true
		}
		return false
	})
	n.raft.RegisterObserver(observer)
	n.running.Go(func() {
		defer n.raft.DeregisterObserver(observer)
		last := raft.ServerID("")
		for {
			select {
			case <-n.ctx.Done():
				return
			case o := <-seen:
				switch data := o.Data.(type) {
				case raft.RaftState:
					if data == raft.Candidate {
						n.metrics.candidacies.Inc()
					}
				case raft.LeaderObservation:
					if data.LeaderID != "" && data.LeaderID != last {
						last = data.LeaderID
						n.metrics.leaderChanges.Inc()
					}
				}
			}
		}
	})
}
