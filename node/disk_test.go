package node

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const mib = 1 << 20

// fakeDisk has as many bytes free as it is told, of a gigabyte.
type fakeDisk struct{ free atomic.Uint64 }

func (d *fakeDisk) ask(string) (space, error) {
	return space{free: d.free.Load(), all: 1024 * mib}, nil
}

func disk(t *testing.T, n *Node) Check {
	t.Helper()
	for _, c := range n.Checks() {
		if c.Name == "disk" {
			return c
		}
	}
	require.Fail(t, "no line about the disk")
	return Check{}
}

func TestFreeSpaceIsWatched(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		min         int64
		free, all   uint64
		low         bool
		wellAgainAt uint64
	}{
		"large disk":            {0, 256 * mib, 100 << 30, false, 0},
		"large and nearly full": {0, 256*mib - 1, 100 << 30, true, 288 * mib},
		"small disk":            {0, 50 * mib, 1000 * mib, false, 0},
		"small, nearly full":    {0, 50*mib - 1, 1000 * mib, true, 50*mib + 50*mib/8},
		"own mark":              {100, 100, 1000 * mib, false, 0},
		"below it":              {100, 99, 1000 * mib, true, 112},
		"off":                   {-1, 0, 1000 * mib, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			have := space{free: tc.free, all: tc.all}
			var failure error
			d := newDisk(Config{DataDir: "/d", MinFreeDisk: tc.min, free: func(folder string) (space, error) {
				require.Equal(t, "/d", folder)
				return have, failure
			}})
			require.Equal(t, tc.low, d.isLow())
			require.Equal(t, !tc.low, d.check().OK)
			if !tc.low {
				return
			}
			require.Contains(t, d.check().Detail, "the disk of /d is nearly full")
			have.free = tc.wellAgainAt - 1
			d.look()
			require.True(t, d.isLow(), "not to and fro")
			failure = errors.New("no answer")
			d.look()
			require.True(t, d.isLow(), "not known to be better")
			require.Equal(t, "no answer", d.check().Detail)
			failure, have.free = nil, tc.wellAgainAt
			d.look()
			require.True(t, d.check().OK)
		})
	}
	s, err := statfs(t.TempDir())
	require.NoError(t, err)
	require.Positive(t, s.all)
	require.GreaterOrEqual(t, s.all, s.free)
	_, err = statfs("/does/not/exist")
	require.ErrorContains(t, err, "free space of /does/not/exist")
}

// A leader whose disk is nearly full hands over to one that has space and goes on where
// there is none.
func TestLeaderWithoutSpaceHandsOver(t *testing.T) {
	t.Parallel()
	disks := map[string]*fakeDisk{}
	c := newCluster(t, 3, func(m *member) {
		d := &fakeDisk{}
		d.free.Store(500 * mib)
		disks[m.cfg.Name], m.cfg.free, m.cfg.diskInterval = d, d.ask, 20*time.Millisecond
	})
	old := c.leader()
	others := c.others(old)
	for _, m := range others { // as the cluster's questions would tell
		old.Report(m.ID(), Heard{LowDisk: true})
	}
	disks[old.Name()].free.Store(10 * mib)
	eventually(t, "it tries", func() bool { return old.journal.has("no other node takes the leadership") })
	require.Same(t, old, c.leader(), "better than nobody")
	require.Equal(t, "the disk of "+old.cfg.DataDir+" is nearly full: 10 MiB of 1024 MiB are free, and 51 MiB should be; enlarge it or make room", disk(t, old.Node).Detail)
	require.True(t, old.Status().LowDisk)
	require.NoError(t, testutil.CollectAndCompare(old.Disk(), strings.NewReader(`
# HELP keysteward_disk_free_bytes Free space on the disk of the data folder.
# TYPE keysteward_disk_free_bytes gauge
keysteward_disk_free_bytes 1.048576e+07
# HELP keysteward_disk_size_bytes Size of the disk of the data folder.
# TYPE keysteward_disk_size_bytes gauge
keysteward_disk_size_bytes 1.073741824e+09
# HELP keysteward_disk_low 1 while less than --min-free-disk is free.
# TYPE keysteward_disk_low gauge
keysteward_disk_low 1
`)))
	require.NoError(t, prometheus.NewPedanticRegistry().Register(old.Disk()))
	old.Report(others[1].ID(), Heard{})
	eventually(t, "the one with space leads", func() bool { return c.leader() == others[1] })
	c.done("x")
	eventually(t, "the other is patient", func() bool {
		return old.raft.ReloadableConfig().ElectionTimeout == sealedPatience*old.cfg.ElectionTimeout
	})
	disks[old.Name()].free.Store(500 * mib)
	eventually(t, "it is well again", func() bool { return disk(t, old.Node).OK })
}

// Whatever else makes a leader a bad one: another leads.
func TestUnfitLeaderHandsOver(t *testing.T) {
	t.Parallel()
	unfit := map[string]*atomic.Bool{}
	c := newCluster(t, 3, calm, func(m *member) {
		bad := new(atomic.Bool)
		unfit[m.cfg.Name], m.cfg.diskInterval = bad, 20*time.Millisecond
		m.cfg.Unfit = func() string {
			if bad.Load() {
				return "tls-api: expired"
			}
			return ""
		}
	})
	old := c.leader()
	for _, m := range c.others(old) {
		old.Report(m.ID(), Heard{})
		old.Forget(m.ID()) // with certificates that are over it can not ask any more
	}
	unfit[old.Name()].Store(true)
	eventually(t, "another one leads", func() bool { return c.leader() != old })
	require.True(t, old.journal.has("tls-api: expired"))
	c.done("x")
}

// tmpfs is a disk of a few megabytes, which needs root.
func tmpfs(t *testing.T, size string) string {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", folder, "tmpfs", 0, "size="+size), "mounting needs root")
	t.Cleanup(func() { require.NoError(t, unix.Unmount(folder, unix.MNT_DETACH)) })
	return folder
}

// fill leaves no block free.
func fill(t *testing.T, folder string) {
	t.Helper()
	f, err := os.Create(filepath.Join(folder, "filler"))
	require.NoError(t, err)
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	require.ErrorIs(t, err, unix.ENOSPC)
}

// A disk that is full stops the node with the reason; the others go on, and the node too
// once there is space.
func TestDiskIsFull(t *testing.T) {
	t.Parallel()
	for name, leads := range map[string]bool{"of the leader": true, "of a follower": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 3, calm, func(m *member) {
				if m.cfg.Name == "n1" {
					m.cfg.DataDir, m.cfg.MinFreeDisk = tmpfs(t, "4m"), -1
				}
			})
			full := c.members[0]
			c.done("first")
			eventually(t, "n1 leads or not", func() bool {
				l := c.leader()
				if (l == full) == leads {
					return true
				}
				_ = l.PassOn(t.Context(), func(id string) bool { return (NameOf(id) == "n1") == leads })
				return false
			})
			c.done("before")
			fill(t, full.cfg.DataDir)
			var failure error
			for i := 0; failure == nil; i++ {
				c.done(strings.Repeat("x", i%100+1)) // always acknowledged by somebody
				select {
				case failure = <-full.Failed():
				default:
				}
			}
			require.ErrorIs(t, failure, unix.ENOSPC)
			require.ErrorContains(t, failure, "write the log "+filepath.Join(full.cfg.DataDir, "raft"))
			require.True(t, full.journal.has("this node can not rely on its disk: it stops"))
			full.down()
			c.done("without it")
			require.NoError(t, os.Remove(filepath.Join(full.cfg.DataDir, "filler")))
			full.up()
			c.done("after")
			c.agree()
		})
	}
}
