package raftlog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
)

// fullDisk has no room for new files of a kind, while it is full.
type fullDisk struct {
	vfs.FS

	kind string
	full atomic.Bool
}

func (d *fullDisk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if d.full.Load() && strings.HasSuffix(name, d.kind) {
		return nil, &fs.PathError{Op: "create", Path: name, Err: syscall.ENOSPC}
	}
	return d.FS.Create(name, category)
}

// within fails the test if something does not end.
func within(t *testing.T, what string, do func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		require.FailNow(t, what+" does not end")
		return nil
	}
}

// A store that can not be flushed is not waited for: it says why, and opens once there is room.
func TestOpenOnFullDisk(t *testing.T) {
	t.Parallel()
	dir := used(t)
	disk := &fullDisk{FS: vfs.Default, kind: ".sst"}
	disk.full.Store(true)
	var told atomic.Pointer[error]
	err := within(t, "Open", func() error {
		_, err := openIn(disk, dir, quiet, func(err error) { told.Store(&err) })
		return err
	})
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NotErrorIs(t, err, ErrDamaged)
	require.ErrorIs(t, *told.Load(), syscall.ENOSPC)
	disk.full.Store(false)
	var s *Store
	require.Eventually(t, func() bool { // until the one that was left alone has closed it
		s, err = Open(dir, quiet, func(error) {})
		return err == nil
	}, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, s.Close())
	_, err = Verify(dir, want, quiet)
	require.NoError(t, err)
}

// Writers do not wait for a flush that fails again and again.
func TestFlushFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, open(t, dir).Close())
	disk := &fullDisk{FS: vfs.Default, kind: ".sst"}
	var told atomic.Int32
	s, err := openIn(disk, dir, quiet, func(error) { told.Add(1) })
	require.NoError(t, err)
	disk.full.Store(true)
	last := uint64(0)
	err = within(t, "StoreLogs", func() error {
		for {
			var logs []*raft.Log
			for range 64 {
				last++
				logs = append(logs, &raft.Log{Index: last, Term: 1, Data: make([]byte, 512<<10)})
			}
			if err := s.StoreLogs(logs); err != nil {
				return err
			}
		}
	})
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorIs(t, s.SetUint64([]byte(KeyCurrentTerm), 7), syscall.ENOSPC, "nothing is written any more")
	require.NoError(t, within(t, "Close", s.Close))
	require.EqualValues(t, 1, told.Load())
}

// Whoever is told of a write that fails hears of it before the store does anything about it.
func TestWatched(t *testing.T) {
	t.Parallel()
	disk := &fullDisk{FS: vfs.Default, kind: ".log"}
	var said heard
	w := watched{FS: disk, fail: said.fail}
	f, err := w.Create(filepath.Join(t.TempDir(), "1.log"), vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write([]byte("x"))
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, said.failure())
	require.NoError(t, f.Close())
	_, err = f.Write([]byte("x"))
	require.ErrorIs(t, said.failure(), fs.ErrClosed)
	require.Error(t, err)
	said = heard{}
	disk.full.Store(true)
	_, err = w.Create(filepath.Join(t.TempDir(), "2.log"), vfs.WriteCategoryUnspecified)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorIs(t, said.failure(), syscall.ENOSPC)
}

// Many bytes are written in parts, none of which is another way through the store.
func TestManyBytes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	var logs []*raft.Log
	for i := range uint64(32) {
		logs = append(logs, &raft.Log{Index: i + 1, Term: 1, Data: make([]byte, 1<<20)})
	}
	require.NoError(t, s.SetUint64([]byte(KeyCurrentTerm), 1))
	require.NoError(t, s.StoreLogs(logs))
	require.NoError(t, s.Close())
	found, err := Verify(dir, Whole{}, quiet)
	require.NoError(t, err)
	require.Equal(t, Found{Entries: 32, Last: 32, LastTerm: 1, Term: 1}, found)
}

// A store that can not be filled leaves nothing behind: the disk may be full.
func TestNotFilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	err := makeNew(dir, quiet, func(*pebble.DB) (mark, error) { return mark{}, syscall.ENOSPC })
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Empty(t, files(t, dir))
	require.NoDirExists(t, filepath.Join(dir, Folder))
}

// An older version that ran on the folder, and made no more than an empty file.
func TestOlderLogWithoutBuckets(t *testing.T) {
	t.Parallel()
	dir := used(t)
	require.NoError(t, os.Remove(filepath.Join(dir, OlderFile))) // the notice
	db, err := bbolt.Open(filepath.Join(dir, OlderFile), 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	require.ErrorIs(t, Migrate(dir, quiet), ErrDamaged)
}

// An error of the disk with which the store panics is not called damage: people would set
// the folder aside.
func TestPanics(t *testing.T) {
	t.Parallel()
	err := guarded(func() error { panic(&fs.PathError{Op: "sync", Path: "x", Err: syscall.EIO}) })
	require.ErrorIs(t, err, syscall.EIO)
	require.NotErrorIs(t, err, ErrDamaged)
	require.ErrorIs(t, guarded(func() error { panic("odd") }), ErrDamaged)
	require.ErrorIs(t, guarded(func() error { panic(errors.New("odd")) }), ErrDamaged)
}
