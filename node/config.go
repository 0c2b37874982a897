package node

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node/failpoint"
	"github.com/keysteward/keysteward/node/tracing"
)

// Config says how a node runs. Zero values of times are replaced by defaults.
type Config struct {
	// Name of the node as its operator calls it (a StatefulSet's pod name). The
	// node's ID is minted from it once and kept in DataDir.
	Name string
	// DataDir holds the log, the snapshots and the node's ID.
	DataDir string
	// MinFreeDisk is how many bytes have to be free on the disk of DataDir, else the node
	// is not ready and leads only if no other can: 0 means [DefaultMinFreeDisk] or 5 % of
	// the disk, whichever is less, and a negative number that nobody looks.
	MinFreeDisk int64
	// SnapshotsKept is how many snapshots stay on the disk, at least 1; 0 means
	// [DefaultSnapshotsKept].
	SnapshotsKept int
	// RaftAdvertise is the host:port under which the other members reach this one.
	RaftAdvertise string
	// APIAdvertise is the URL of this node's API.
	APIAdvertise string

	// HeartbeatTimeout without word from the leader starts an election.
	HeartbeatTimeout time.Duration
	// ElectionTimeout is after how long a candidate tries again; at least HeartbeatTimeout,
	// which is the default.
	ElectionTimeout time.Duration
	// LeaseTimeout without a quorum makes a leader step down; at most half of
	// HeartbeatTimeout, which is the default.
	LeaseTimeout time.Duration
	// TickInterval is how often a leader logs the time that passed.
	TickInterval time.Duration
	// CommitTimeout is how long a leader may be unable to commit before it
	// gives up and the process ends, and how long a duty may take to stop.
	CommitTimeout time.Duration

	// Vault decides whether this node may lead.
	Vault  Vault
	Logger *slog.Logger
	// Checks are more lines of readiness, of what only the process around the node
	// knows; may be nil.
	Checks func() []Check
	// Unfit says why this node should hand leadership over if another fits, such as that no
	// client can reach it; empty if nothing is wrong. May be nil.
	Unfit func() string

	// Tracer makes spans of commands and reads; nil makes none.
	Tracer trace.Tracer
	// Origins learn which requests asked for what duties do; nil learns nothing.
	Origins *tracing.Origins
	// RequestLevel is that of the line which the log has for each command.
	RequestLevel slog.Level

	// For tests: free asks the file system, diskInterval says how often, and rpcTimeout is
	// how long another member may take to answer.
	free         func(folder string) (space, error)
	diskInterval time.Duration
	rpcTimeout   time.Duration
}

// Vault is what a node must know about its key-encryption key.
type Vault interface {
	// Usable reports whether secrets of this state can be opened; if not, the
	// reason is in words. A node without an answer votes and replicates, but
	// opens no session.
	Usable(view *fsm.View) (reason string, ok bool)
}

const (
	// DefaultHeartbeatTimeout replaces a crashed leader in about a second.
	DefaultHeartbeatTimeout = 400 * time.Millisecond
	defaultTickInterval     = 5 * time.Second
	defaultCommitTimeout    = 20 * time.Second
	sealedPatience          = 4 // how much longer a sealed candidate waits before it tries again
	maxNameBytes            = 200
	// DefaultSnapshotsKept is the newest and the one before, if the newest is damaged.
	DefaultSnapshotsKept = 2
)

var nodeName = regexp.MustCompile(`^[A-Za-z0-9][-._A-Za-z0-9]*$`)

func (c *Config) complete() error {
	fallback := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	fallback(&c.HeartbeatTimeout, DefaultHeartbeatTimeout)
	fallback(&c.ElectionTimeout, c.HeartbeatTimeout)
	fallback(&c.LeaseTimeout, c.HeartbeatTimeout/2) //nolint:mnd // half
	for _, d := range []*time.Duration{&c.HeartbeatTimeout, &c.ElectionTimeout, &c.LeaseTimeout} {
		*d *= time.Duration(failpoint.Slow())
	}
	fallback(&c.TickInterval, defaultTickInterval)
	fallback(&c.CommitTimeout, defaultCommitTimeout)
	fallback(&c.diskInterval, diskInterval)
	fallback(&c.rpcTimeout, transportTimeout)
	if c.SnapshotsKept == 0 {
		c.SnapshotsKept = DefaultSnapshotsKept
	}
	if c.free == nil {
		c.free = statfs
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case len(c.Name) > maxNameBytes || !nodeName.MatchString(c.Name):
		return fmt.Errorf("node name %q: want letters, digits, '-', '_' and '.', at most %d", c.Name, maxNameBytes)
	case c.RaftAdvertise == "":
		return errors.New("advertised Raft address is empty")
	case c.Vault == nil:
		return errors.New("node has no vault")
	case c.SnapshotsKept < 0:
		return fmt.Errorf("%d snapshots to keep: at least 1", c.SnapshotsKept)
	case c.TickInterval < 0, c.CommitTimeout < 0:
		return fmt.Errorf("tick interval %v, commit time-out %v: not negative", c.TickInterval, c.CommitTimeout)
	case c.LeaseTimeout > c.HeartbeatTimeout/2:
		return fmt.Errorf("lease time-out %v: at most half of the heartbeat time-out %v", c.LeaseTimeout, c.HeartbeatTimeout)
	case c.ElectionTimeout < c.HeartbeatTimeout:
		return fmt.Errorf("election time-out %v: at least the heartbeat time-out %v", c.ElectionTimeout, c.HeartbeatTimeout)
	}
	return nil
}
