package raftlog

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
)

// The store has what Raft did not delete yet: some tens of thousands of entries, which
// come and go in one order.
const (
	memTableBytes = 8 << 20 // as much of the write-ahead log is reserved on the disk, twice
	cacheBytes    = 4 << 20
	openFiles     = 64
	// format is of the files. Its write-ahead log tells an end that was torn by a crash
	// from damage in the middle.
	format = pebble.FormatWALSyncChunks
)

// openStore opens the store of a folder; one that is only read has to be there. An error
// that says so wraps ErrDamaged.
func openStore(path string, readOnly bool, log *slog.Logger, fail func(error)) (db *pebble.DB, err error) {
	options := &pebble.Options{
		ReadOnly: readOnly, ErrorIfNotExists: readOnly, FormatMajorVersion: format,
		MemTableSize: memTableBytes, CacheSize: cacheBytes, MaxOpenFiles: openFiles,
		Logger: &logger{log: log, fail: fail},
		EventListener: &pebble.EventListener{
			BackgroundError: fail, // it would be tried again for ever
			DataCorruption:  func(info pebble.DataCorruptionInfo) { fail(fmt.Errorf("%w: %s", ErrDamaged, info)) },
		},
	}
	options.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	err = guarded(func() error {
		var err error
		db, err = pebble.Open(path, options)
		return err //nolint:wrapcheck // the caller names the store
	})
	return db, damaged(err)
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
		default:
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	return do()
}
