package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node/failpoint"
	"github.com/keysteward/keysteward/node/raftlog"
)

// Node is one member of the cluster.
type Node struct {
	cfg     Config
	log     *slog.Logger
	folder  *folder
	link    *Link
	replica *replica
	raft    *raft.Raft
	store   *raftlog.Store
	disk    *Disk
	metrics *metrics
	trans   *transport
	// snapshots on disk.
	snapshots raft.SnapshotStore

	session atomic.Pointer[Session]
	caught  atomic.Bool
	leaving atomic.Bool
	// How often in a row, and when last, this node handed leadership over because it may not lead.
	passed   int
	lastPass time.Time
	indexes  sync.Map // node ID → heard: what it answered, in this leadership

	duties  []Duty
	working sync.Map        // names of the duties that are running
	ctx     context.Context // the node's life, from Open to Close
	stop    context.CancelFunc
	running sync.WaitGroup
	life    sync.Mutex // guards begun, and that nothing is started once the node closes
	begun   bool
	close   func() error
	failed  chan error
}

const (
	snapshotAfter = 65_536  // log entries
	trailingLogs  = 131_072 // a follower that was away for a while needs no snapshot
)

// Open opens the node's data folder and takes part in the cluster that it
// remembers. It takes the link over and closes it, also when it fails. The node
// votes and replicates; it leads only after Start.
func Open(cfg Config, link *Link) (opened *Node, err error) {
	cfg.RaftAdvertise = link.Advertised()
	failpoint.Here(cfg.Name)
	n := &Node{link: link, failed: make(chan error, 1), metrics: newMetrics()}
	n.replica = &replica{machine: fsm.New(), fail: n.fail, metrics: n.metrics, dataDir: cfg.DataDir}
	n.close = sync.OnceValue(n.shutDown)
	n.ctx, n.stop = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			n.stop()
			err = errors.Join(err, n.closeStores())
		}
	}()
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	n.cfg, n.log = cfg, cfg.Logger
	if n.folder, err = openFolder(cfg.DataDir, cfg.Name); err != nil {
		return nil, withOwner(err)
	}
	n.disk = newDisk(cfg)
	if err := n.folder.verify(n.log); err != nil {
		return nil, err
	}
	sweepSnapshots(filepath.Join(cfg.DataDir, snapshotsFolder), n.log)
	setSnapshotsAside(cfg.DataDir, n.log)
	if n.store, err = raftlog.Open(cfg.DataDir, n.log, n.unwritable); err != nil {
		return nil, err //nolint:wrapcheck // names the folder
	}
	if err := n.store.Own(n.ID()); err != nil {
		return nil, err //nolint:wrapcheck // names the folder
	}
	if err := n.startRaft(); err != nil {
		return nil, err
	}
	return n, nil
}

// Start lets the node lead, and names the duties that run in each of its
// sessions. Only the first call counts.
func (n *Node) Start(duties ...Duty) {
	n.life.Lock()
	defer n.life.Unlock()
	if n.begun || n.ctx.Err() != nil {
		return
	}
	n.begun = true
	n.duties = duties
	n.running.Go(func() { follow(n.ctx, n.raft.LeaderCh(), n.start) })
	n.running.Go(func() { n.heedSeal(n.ctx) })
	n.running.Go(func() { n.heedDisk(n.ctx) })
}

func (n *Node) startRaft() error {
	logger := raftLogger(n.log, n.leaving.Load)
	// Before Raft does it: snapshots are nobody else's to read.
	if err := os.MkdirAll(filepath.Join(n.cfg.DataDir, snapshotsFolder), 0o700); err != nil {
		return fmt.Errorf("open snapshots: %w", err)
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(n.cfg.DataDir, n.cfg.SnapshotsKept, logger)
	if err != nil {
		return fmt.Errorf("open snapshots: %w", err)
	}
	n.snapshots = snapshotStore{SnapshotStore: snapshots, folder: filepath.Join(n.cfg.DataDir, snapshotsFolder)}
	if err := syncFolder(n.cfg.DataDir); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	n.trans = newTransportWithin(n.link, n.ID(), n.cfg.rpcTimeout, logger, n.log)
	c := n.raftConfig()
	c.Logger = logger
	n.raft, err = raft.NewRaft(c, n.replica, newLogCache(n.store), terms{n.store}, n.snapshots, n.trans)
	if err != nil {
		return fmt.Errorf("start raft: %w", err)
	}
	n.watchElections()
	n.replica.live.Store(true)
	if n.link.guard != nil {
		n.link.guard.follow(n.memberAddresses)
	}
	return nil
}

func (n *Node) memberAddresses() []string {
	var list []string
	for _, s := range n.servers() {
		list = append(list, string(s.Address))
	}
	return list
}

func (n *Node) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(n.ID())
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = n.cfg.HeartbeatTimeout, n.cfg.ElectionTimeout, n.cfg.LeaseTimeout
	c.CommitTimeout = min(50*time.Millisecond, n.cfg.HeartbeatTimeout/10)
	c.SnapshotThreshold, c.TrailingLogs = snapshotAfter, trailingLogs
	if failpoint.Often() {
		c.SnapshotInterval, c.SnapshotThreshold, c.TrailingLogs = time.Second, 32, 64
	}
	if failpoint.Whole() {
		c.TrailingLogs = math.MaxInt64
	}
	c.BatchApplyCh = true
	c.ShutdownOnRemove = false // a node that was removed still answers who waits for it
	return c
}

// ID is the node's ID, minted once and kept in its data folder.
func (n *Node) ID() string { return n.folder.nodeID }

// Name is the node's name.
func (n *Node) Name() string { return n.cfg.Name }

// View returns the applied state.
func (n *Node) View() *fsm.View { return n.replica.machine.View() }

// Failed delivers the error after which the process has to end; the node leads
// no more.
func (n *Node) Failed() <-chan error { return n.failed }

func (n *Node) fail(err error) {
	select {
	case n.failed <- err:
	default:
	}
	n.stop()
}

// HasState reports whether the node is, or ever was, part of a cluster.
func (n *Node) HasState() bool { return n.raft.LastIndex() > 0 || n.raft.CurrentTerm() > 0 }

// Founded reports whether the node knows a configuration of members.
func (n *Node) Founded() bool { return len(n.servers()) > 0 }

// Bootstrap founds a cluster of these members. It must be called on one node
// only, after all of them said that they have no state.
func (n *Node) Bootstrap(servers []raft.Server) error {
	if err := n.folder.write("", false); err != nil { // of a cluster that it wanted to join
		return err
	}
	founded := make(chan error, 1)
	// Left behind where Raft's loop ends meanwhile, because the disk fails: it answers nobody then.
	go func() { founded <- n.raft.BootstrapCluster(raft.Configuration{Servers: servers}).Error() }()
	select {
	case err := <-founded:
		if err != nil {
			return fmt.Errorf("found the cluster: %w", err)
		}
		return nil
	case <-n.ctx.Done():
		return fmt.Errorf("found the cluster: %w", n.ctx.Err())
	}
}

// Close stops the node and waits for everything that it started; a duty that
// does not end with its context is given up on after CommitTimeout and named
// in the error. It does not hand leadership over.
func (n *Node) Close() error { return n.close() }

func (n *Node) shutDown() error {
	n.leaving.Store(true)
	n.life.Lock()
	n.stop()
	n.life.Unlock()
	// Raft runs on until the session has ended: it forgets to answer what waits
	// for it when it stops.
	err := n.awaitRunning()
	down := n.raft.Shutdown()
	err = errors.Join(err, n.link.Close()) // so that nobody waits for an answer
	n.trans.closePipelines()
	return errors.Join(err, down.Error(), n.closeStores())
}

func (n *Node) awaitRunning() error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.running.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-time.After(n.cfg.CommitTimeout):
		return fmt.Errorf("%w: %s", errStuck, cmp.Or(n.busy(), "none; a log entry was never answered"))
	}
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
