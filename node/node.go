package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/keysteward/keysteward/fsm"
)

// Node is one member of the cluster.
type Node struct {
	cfg     Config
	log     *slog.Logger
	folder  *folder
	link    *Link
	machine *fsm.Machine
	raft    *raft.Raft
	store   *raftboltdb.BoltStore
	trans   *raft.NetworkTransport

	session atomic.Pointer[Session]
	caught  atomic.Bool
	leaving atomic.Bool
	indexes sync.Map // node ID → last log index it was seen to have applied

	duties  []Duty
	stop    context.CancelFunc
	running sync.WaitGroup
	failed  chan error
}

const (
	transportPool    = 4
	transportTimeout = 5 * time.Second
	snapshotsKept    = 2
	snapshotAfter    = 65_536  // log entries
	trailingLogs     = 131_072 // a follower that was away for a while needs no snapshot
	logCache         = 1024
)

// Open opens the node's data folder and takes part in the cluster that it
// remembers. It takes the link over and closes it. The node votes and
// replicates; it leads only after Start.
func Open(cfg Config, link *Link) (opened *Node, err error) {
	cfg.RaftAdvertise = link.Advertised()
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, log: cfg.Logger, link: link, machine: fsm.New(), failed: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.closeStores())
		}
	}()
	if n.folder, err = openFolder(cfg.DataDir, cfg.Name); err != nil {
		return nil, err
	}
	n.store, err = raftboltdb.New(raftboltdb.Options{
		Path:        filepath.Join(cfg.DataDir, "raft.db"),
		BoltOptions: &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, Timeout: time.Second},
	})
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	if err := n.startRaft(); err != nil {
		return nil, err
	}
	return n, nil
}

// Start lets the node lead, and names the duties that run in each of its sessions.
func (n *Node) Start(duties ...Duty) {
	n.duties = duties
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.running.Go(func() { n.lead(ctx) })
}

func (n *Node) startRaft() error {
	logger := raftLogger(n.log)
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(n.cfg.DataDir, snapshotsKept, logger)
	if err != nil {
		return fmt.Errorf("open snapshots: %w", err)
	}
	cached, err := raft.NewLogCache(logCache, n.store)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	n.trans = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  &accepted{link: n.link, conns: n.link.raft},
		MaxPool: transportPool, Timeout: transportTimeout, Logger: logger,
	})
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(n.folder.nodeID)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = n.cfg.HeartbeatTimeout, n.cfg.ElectionTimeout, n.cfg.LeaseTimeout
	c.CommitTimeout = min(50*time.Millisecond, n.cfg.HeartbeatTimeout/10)
	if _, usable := n.cfg.Vault.Usable(n.View()); !usable {
		// A sealed node votes, but lets the others stand for election first.
		c.HeartbeatTimeout *= sealedPatience
		c.ElectionTimeout *= sealedPatience
	}
	c.SnapshotThreshold, c.TrailingLogs = snapshotAfter, trailingLogs
	c.BatchApplyCh = true
	c.Logger = logger
	n.raft, err = raft.NewRaft(c, &replica{machine: n.machine, fail: n.fail}, cached, n.store, snapshots, serialTransport{n.trans})
	if err != nil {
		return fmt.Errorf("start raft: %w", err)
	}
	return nil
}

// ID is the node's ID, minted once and kept in its data folder.
func (n *Node) ID() string { return n.folder.nodeID }

// Name is the node's name.
func (n *Node) Name() string { return n.cfg.Name }

// View returns the applied state.
func (n *Node) View() *fsm.View { return n.machine.View() }

// Failed delivers the error after which the process has to end.
func (n *Node) Failed() <-chan error { return n.failed }

func (n *Node) fail(err error) {
	select {
	case n.failed <- err:
	default:
	}
}

// HasState reports whether the node is, or ever was, part of a cluster.
func (n *Node) HasState() bool { return n.raft.LastIndex() > 0 }

// Founded reports whether the node knows a configuration of members.
func (n *Node) Founded() bool { return len(n.servers()) > 0 }

// Bootstrap founds a cluster of these members. It must be called on one node
// only, after all of them said that they have no state.
func (n *Node) Bootstrap(servers []raft.Server) error {
	if err := n.raft.BootstrapCluster(raft.Configuration{Servers: servers}).Error(); err != nil {
		return fmt.Errorf("found the cluster: %w", err)
	}
	return nil
}

// StepDown refuses new work and hands leadership over, within the context's time.
func (n *Node) StepDown(ctx context.Context) error {
	n.leaving.Store(true)
	if n.raft.State() != raft.Leader {
		return nil
	}
	done := make(chan error, 1)
	n.running.Go(func() { done <- n.raft.LeadershipTransfer().Error() })
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("hand leadership over: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("hand leadership over: %w", ctx.Err())
	}
}

// Close stops the node and waits for everything that it started.
func (n *Node) Close() error {
	n.leaving.Store(true)
	if n.stop != nil {
		n.stop()
	}
	err := n.raft.Shutdown().Error()
	n.running.Wait()
	return errors.Join(err, n.closeStores())
}

func (n *Node) closeStores() error {
	var errs []error
	if n.trans != nil {
		errs = append(errs, n.trans.Close())
	}
	errs = append(errs, n.link.Close())
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	if n.folder != nil {
		errs = append(errs, n.folder.close())
	}
	return errors.Join(errs...)
}
