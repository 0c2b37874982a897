package raftlog

import (
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// watched tells of each write to the disk that fails. The store ends the process for some
// of them (it can not go on to another file of its write-ahead log) without a word.
type watched struct {
	vfs.FS

	fail func(error)
}

// Unwrap implements vfs.FS.
func (w watched) Unwrap() vfs.FS { return w.FS }

// Create implements vfs.FS.
func (w watched) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := w.FS.Create(name, category)
	return w.file(f, err)
}

// ReuseForWrite implements vfs.FS.
func (w watched) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := w.FS.ReuseForWrite(old, name, category)
	return w.file(f, err)
}

// OpenDir implements vfs.FS.
func (w watched) OpenDir(name string) (vfs.File, error) {
	f, err := w.FS.OpenDir(name)
	if err != nil {
		return nil, err //nolint:wrapcheck // names the folder
	}
	return watchedFile{File: f, fail: w.fail}, nil
}

func (w watched) file(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		w.fail(err)
		return nil, err
	}
	return watchedFile{File: f, fail: w.fail}, nil
}

type watchedFile struct {
	vfs.File

	fail func(error)
}

func (f watchedFile) tell(err error) error {
	if err != nil {
		f.fail(err)
	}
	return err
}

// Write implements vfs.File.
func (f watchedFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	return n, f.tell(err)
}

// Sync implements vfs.File.
func (f watchedFile) Sync() error { return f.tell(f.File.Sync()) }

// SyncData implements vfs.File.
func (f watchedFile) SyncData() error { return f.tell(f.File.SyncData()) }

// SyncTo implements vfs.File.
func (f watchedFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.tell(err)
}

// heard keeps the first failure that is said, by whichever goroutine of the store.
type heard struct {
	mu  sync.Mutex
	err error
}

func (h *heard) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		h.err = err
	}
}

func (h *heard) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}
