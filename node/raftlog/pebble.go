package raftlog

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// The store has what Raft did not delete yet: some tens of thousands of entries, which
// come and go in one order.
const (
	memTableBytes = 8 << 20 // as much of the write-ahead log is reserved on the disk, twice
	cacheBytes    = 4 << 20
	openFiles     = 64
	// partBytes of entries are written at once, and the last of them. Batches of half a
	// memtable are another way through the store, which ends the process if it can not
	// write them.
	partBytes = memTableBytes / 4
	// format is of the files. Its write-ahead log tells an end that was torn by a crash
	// from damage in the middle.
	format = pebble.FormatWALSyncChunks
)

// neverStall is so much that is not flushed yet, or not compacted, that nothing ever has so
// much. A writer that waits for that would wait for ever where flushing fails: it is tried
// again and again.
const neverStall = 1 << 10

// openStore opens the store of a folder; one that is only read has to be there. An error
// that says so wraps ErrDamaged.
func openStore(path string, readOnly bool, log *slog.Logger, fail func(error)) (*pebble.DB, error) {
	return openOn(vfs.Default, path, readOnly, log, fail)
}

// openOn is openStore on some file system.
func openOn(disk vfs.FS, path string, readOnly bool, log *slog.Logger, fail func(error)) (*pebble.DB, error) {
	endless := make(chan error, 1)
	options := &pebble.Options{
		ReadOnly: readOnly, ErrorIfNotExists: readOnly, FormatMajorVersion: format,
		MemTableSize: memTableBytes, CacheSize: cacheBytes, MaxOpenFiles: openFiles,
		MemTableStopWritesThreshold: neverStall, L0StopWritesThreshold: neverStall,
		FS:     watched{FS: disk, fail: fail},
		Logger: &logger{log: log, fail: fail},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { // it would be tried again for ever
				fail(err)
				select {
				case endless <- err:
				default:
				}
			},
			DataCorruption: func(info pebble.DataCorruptionInfo) { fail(fmt.Errorf("%w: %s", ErrDamaged, info)) },
		},
	}
	options.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	return openUnless(endless, path, options)
}

// openUnless opens a store. It waits until what is in the write-ahead log is flushed, and
// for ever where that fails, as on a full disk. It is left alone then: the node ends.
func openUnless(endless <-chan error, path string, options *pebble.Options) (*pebble.DB, error) {
	type result struct {
		db  *pebble.DB
		err error
	}
	opened, left := make(chan result), make(chan struct{})
	go func() {
		var r result
		r.err = guarded(func() (err error) {
			r.db, err = pebble.Open(path, options)
			return err //nolint:wrapcheck // the caller names the store
		})
		select {
		case opened <- r:
		case <-left:
			if r.db != nil {
				_ = guarded(r.db.Close)
			}
		}
	}()
	select {
	case r := <-opened:
		return r.db, damaged(r.err)
	case err := <-endless:
		close(left)
		return nil, damaged(err)
	}
}

// damaged marks errors of a store that is opened or read: they say that its files are not
// what it wrote, except those of the system, which may read them the next time.
func damaged(err error) error {
	if err == nil || errors.Is(err, ErrDamaged) {
		return err
	}
	if system := new(syscall.Errno); errors.As(err, system) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// logger takes what the store has to say. It says goodbye where it would end the process:
// the node is told, and ends in good order.
type logger struct {
	log  *slog.Logger
	fail func(error)
}

// fatal is how Fatalf leaves the store.
type fatal struct{ err error }

// Infof implements pebble.Logger.
func (l *logger) Infof(format string, args ...any) {
	l.log.Debug("the store of the log", "says", fmt.Sprintf(format, args...))
}

// Errorf implements pebble.Logger.
func (l *logger) Errorf(format string, args ...any) {
	l.log.Error("the store of the log", "says", fmt.Sprintf(format, args...))
}

// Fatalf implements pebble.Logger. It does not return, as the store expects.
func (l *logger) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...) //nolint:err113 // the store's words
	for _, arg := range args {
		if cause, ok := arg.(error); ok {
			err = cause
		}
	}
	l.fail(err)
	panic(fatal{err})
}

// guarded turns what the store does about damage that it does not expect, which is to
// panic, into an error.
func guarded(do func() error) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case fatal:
			err = p.err
		case error: // of the system, it is no damage: some errors of writes come this way
			err = damaged(p)
		default:
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	return do()
}
