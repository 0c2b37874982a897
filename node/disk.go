package node

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/keysteward/keysteward/node/gauge"
	"github.com/keysteward/keysteward/node/raftlog"
)

const (
	// DefaultMinFreeDisk bytes have to be free on a disk that is large enough.
	DefaultMinFreeDisk = 256 << 20
	minFreePart        = 20 // of a smaller disk it is this part of all
	diskInterval       = 2 * time.Second
)

// space is that of a file system, in bytes.
type space struct{ free, all uint64 }

// statfs tells how much a process without privileges may write.
func statfs(folder string) (space, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return space{}, fmt.Errorf("free space of %s: %w", folder, err)
	}
	block := uint64(s.Bsize) //nolint:gosec // not negative
	return space{free: s.Bavail * block, all: s.Blocks * block}, nil
}

// Disk watches the free space of the data folder. It is a prometheus.Collector, and safe
// for concurrent use.
type Disk struct {
	folder string
	min    int64
	ask    func(folder string) (space, error)

	mu   sync.Mutex
	last space
	err  error
	low  bool
}

var (
	diskFree = gauge.Desc("disk_free_bytes", "Free space on the disk of the data folder.")
	diskSize = gauge.Desc("disk_size_bytes", "Size of the disk of the data folder.")
	diskLow  = gauge.Desc("disk_low", "1 while less than --min-free-disk is free.")
)

func newDisk(cfg Config) *Disk {
	d := &Disk{folder: cfg.DataDir, min: cfg.MinFreeDisk, ask: cfg.free}
	d.look()
	return d
}

// mark is how much has to be free of all.
func (d *Disk) mark(all uint64) uint64 {
	switch {
	case d.min < 0:
		return 0
	case d.min == 0:
		return min(DefaultMinFreeDisk, all/minFreePart)
	}
	return uint64(d.min)
}

// look asks how much is free. A disk is well again only with an eighth more than the
// mark, so that what is written now and then does not change it to and fro.
func (d *Disk) look() {
	s, err := d.ask(d.folder)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
	if err != nil {
		return
	}
	mark := d.mark(s.all)
	if d.low {
		mark += mark / 8
	}
	d.last, d.low = s, s.free < mark
}

func (d *Disk) isLow() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.low
}

// check is a line of readiness.
func (d *Disk) check() Check {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := Check{Name: "disk", OK: !d.low}
	switch {
	case d.err != nil:
		c.Detail = d.err.Error()
	case d.low:
		c.Detail = fmt.Sprintf("the disk of %s is nearly full: %s of %s are free, and %s should be; enlarge it or make room",
			d.folder, bytesText(d.last.free), bytesText(d.last.all), bytesText(d.mark(d.last.all)))
	default:
		c.Detail = fmt.Sprintf("%s of %s are free", bytesText(d.last.free), bytesText(d.last.all))
	}
	return c
}

func bytesText(n uint64) string { return fmt.Sprintf("%d MiB", n>>20) }

// Describe implements prometheus.Collector.
func (d *Disk) Describe(ch chan<- *prometheus.Desc) {
	ch <- diskFree
	ch <- diskSize
	ch <- diskLow
}

// Collect implements prometheus.Collector.
func (d *Disk) Collect(ch chan<- prometheus.Metric) {
	d.mu.Lock()
	defer d.mu.Unlock()
	tell := gauge.To(ch)
	tell(diskFree, float64(d.last.free))
	tell(diskSize, float64(d.last.all))
	tell(diskLow, gauge.OneIf(d.low))
}

// Disk is that of the node's data folder.
func (n *Node) Disk() *Disk { return n.disk }

// heedDisk watches the disk, and whatever else makes a node a bad leader. A leader whose
// disk is nearly full hands over to a voter that said that its own is not: once it can not
// write it stops, and all that waits for it would wait for an election. One whose
// certificates are over can go on over the connections that it has, but no client gets in.
// Where no other fits it goes on leading.
func (n *Node) heedDisk(ctx context.Context) {
	for looks := 0; ; {
		n.disk.look()
		reason := n.unfit()
		if looks++; reason == "" || n.session.Load() == nil {
			looks = 0
		}
		// At once, and then more and more rarely. If the certificates of all end at one
		// moment it may hand over for nothing.
		if looks > 0 && looks&(looks-1) == 0 {
			n.leaveForFitter(ctx, reason, !n.disk.isLow())
		}
		if pause(ctx, n.cfg.diskInterval) != nil {
			return
		}
	}
}

// unfit is why this node should not lead, if another can; empty if nothing is wrong.
func (n *Node) unfit() string {
	if n.disk.isLow() {
		return n.disk.check().Detail
	}
	if n.cfg.Unfit != nil {
		return n.cfg.Unfit()
	}
	return ""
}

// leaveForFitter hands over to a voter that said that nothing is wrong with it. A deaf
// leader, with whom nobody connects any more, goes by what was said before: that the others
// are silent is its own fault, and Raft finds out who is really there.
func (n *Node) leaveForFitter(ctx context.Context, reason string, deaf bool) {
	n.log.Warn("this node leads and should not: it hands leadership over, if another node fits", "reason", reason)
	err := n.handOverTo(ctx, func(s raft.Server) bool {
		h, ok := n.heardOf(string(s.ID))
		return ok && (deaf || !h.silent) && !h.Sealed && !h.LowDisk && !h.Unfit
	})
	if err != nil {
		n.log.Warn("no other node takes the leadership", "error", err)
	}
}

// unwritable ends the node, and says so at once: Raft may panic for the same reason.
func (n *Node) unwritable(err error) {
	if n.ctx.Err() == nil {
		n.log.Error("this node can not rely on its disk: it stops", "error", err, "disk", n.disk.check().Detail)
	}
	n.fail(err)
}

// terms is where Raft keeps its term and votes. Raft panics if it can not store a term, in
// the middle of the node's end in good order. So the goroutine that asked ends instead: it
// is Raft's loop, which must do nothing any more.
type terms struct{ *raftlog.Store }

// SetUint64 implements raft.StableStore. What is there already is not written: a Raft that
// starts wants that, in the goroutine of whoever starts it, which must not end so.
func (s terms) SetUint64(name []byte, v uint64) error {
	had, err := s.GetUint64(name)
	if had == v && (err == nil || errors.Is(err, raftlog.ErrNotFound)) {
		return nil
	}
	if err := s.Store.SetUint64(name, v); err != nil {
		runtime.Goexit() // the node was told by the store
	}
	return nil
}
