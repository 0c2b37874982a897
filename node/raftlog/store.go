package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/keysteward/keysteward/node/failpoint"
)

// Folder is where the store is in a node's data folder.
const Folder = "raft"

// ErrNotFound says that a value was never set. Raft knows it by these words.
var ErrNotFound = errors.New("not found")

var errExtensions = errors.New("a log entry has extensions, which are not kept")

// Store is the log on disk. The first write that fails is reported once to whom Open was
// told: Raft would go on with what it believes to have written, try again for ever as a
// follower, and lead again and again without being able to write anything. Entries that
// were stored, and values that were set, survive a power cut.
type Store struct {
	path string
	disk vfs.FS
	fail func(error)
	db   *pebble.DB

	first, last atomic.Uint64 // indexes, 0 for none

	failed  atomic.Pointer[error] // what was reported
	writing sync.Mutex            // who changes anything
	marker  *marker
	broken  error // why nothing can be written any more
}

var (
	_ raft.LogStore    = (*Store)(nil)
	_ raft.StableStore = (*Store)(nil)
)

// Open opens the store of a data folder, or makes a new one. It has to be whole: see
// [Verify]. A log of an older version has to be rewritten before: see [Migrate]. fail hears of the first failure that ends the node, from any goroutine, and
// must not call the store.
func Open(dataDir string, log *slog.Logger, fail func(error)) (*Store, error) {
	return openIn(vfs.Default, dataDir, log, fail)
}

func openIn(disk vfs.FS, dataDir string, log *slog.Logger, fail func(error)) (*Store, error) {
	s := &Store{path: filepath.Join(dataDir, Folder), disk: disk}
	var once sync.Once
	s.fail = func(err error) {
		once.Do(func() {
			s.failed.Store(&err)
			fail(err)
		})
	}
	err := s.found(dataDir, log)
	if err == nil {
		err = s.open(false, log)
	}
	if err == nil {
		err = s.mark()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the log %s: %w", s.path, err), s.Close())
	}
	return s, nil
}

// found makes the store if there is none. Older versions are warned first; a log of theirs
// is never written over.
func (s *Store) found(dataDir string, log *slog.Logger) error {
	if _, err := os.Lstat(s.path); !errors.Is(err, fs.ErrNotExist) {
		return err //nolint:wrapcheck // names the file
	}
	if older, err := isLog(filepath.Join(dataDir, OlderFile)); older || err != nil {
		return errors.Join(err, errOlder)
	}
	if err := writeNotice(dataDir); err != nil {
		return err
	}
	return makeNew(dataDir, log, nil)
}

// OpenReadOnly is Open for a store that has to be there, and is only read.
func OpenReadOnly(dataDir string, log *slog.Logger, fail func(error)) (*Store, error) {
	s := &Store{path: filepath.Join(dataDir, Folder), disk: vfs.Default, fail: fail}
	s.broken = s.unwritten(errReadOnly)
	if err := s.open(true, log); err != nil {
		return nil, errors.Join(fmt.Errorf("open the log %s: %w", s.path, err), s.Close())
	}
	return s, nil
}

var (
	errReadOnly = errors.New("it is only read")
	errOlder    = errors.New("the log of an older version in " + OlderFile + " was not rewritten yet")
)

func (s *Store) open(readOnly bool, log *slog.Logger) (err error) {
	if s.db, err = openOn(s.disk, s.path, readOnly, log, func(err error) { s.fail(s.unwritten(err)) }); err != nil {
		return err
	}
	return s.measure()
}

// mark writes what there is into the mark.
func (s *Store) mark() error {
	m, err := s.present()
	if err == nil {
		s.marker, err = openMarker(s.path, m)
	}
	return err
}

// measure reads the first and the last index of the log.
func (s *Store) measure() error {
	first, last, err := bounds(s.db, entryKey(0), []byte{kindEntry + 1})
	if err == nil {
		s.first.Store(first)
		s.last.Store(last)
	}
	return err
}

// present is the mark of what there is.
func (s *Store) present() (m mark, err error) {
	if m.last = s.last.Load(); m.last > 0 {
		var l raft.Log
		if err := s.GetLog(m.last, &l); err != nil {
			return m, err
		}
		m.lastTerm = l.Term
	}
	for name, v := range map[string]*uint64{KeyCurrentTerm: &m.term, KeyLastVoteTerm: &m.voteTerm} {
		if *v, err = s.GetUint64([]byte(name)); err != nil && !errors.Is(err, ErrNotFound) {
			return m, err
		}
	}
	return m, nil
}

// bounds are the first and the last index between two keys, 0 for none.
func bounds(db *pebble.DB, from, below []byte) (first, last uint64, err error) {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: below})
	if err != nil {
		return 0, 0, err //nolint:wrapcheck // the caller names the store
	}
	if it.First() {
		first = binary.BigEndian.Uint64(it.Key()[1:])
	}
	if it.Last() {
		last = binary.BigEndian.Uint64(it.Key()[1:])
	}
	return first, last, errors.Join(it.Error(), it.Close())
}

// Close closes the store. Nothing may use it any more.
func (s *Store) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	var err error
	if s.db != nil {
		err = guarded(s.db.Close)
	}
	if s.broken != nil && !errors.Is(s.broken, errReadOnly) {
		err = nil // it says again what was reported
	}
	s.broken = s.unwritten(os.ErrClosed)
	if s.marker != nil {
		err = errors.Join(err, s.marker.file.Close())
	}
	return err
}

func (s *Store) unwritten(err error) error { return fmt.Errorf("write the log %s: %w", s.path, err) }

// change does one write to the disk, alone. One that failed is the last one.
func (s *Store) change(do func() error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if failed := s.failed.Load(); s.broken == nil && failed != nil { // the store flushes in the background
		s.broken = *failed
	}
	if s.broken != nil {
		return s.broken
	}
	if err := failpoint.Write(func() error { return guarded(do) }); err != nil {
		s.broken = s.unwritten(err)
		s.fail(s.broken)
	}
	return s.broken
}

// FirstIndex implements raft.LogStore.
func (s *Store) FirstIndex() (uint64, error) { return s.first.Load(), nil }

// LastIndex implements raft.LogStore.
func (s *Store) LastIndex() (uint64, error) { return s.last.Load(), nil }

// StoreLog implements raft.LogStore.
func (s *Store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore. A failure, or a power cut, may leave the first of the
// entries, where they are many bytes.
func (s *Store) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	for _, l := range logs {
		if len(l.Extensions) > 0 {
			return errExtensions
		}
	}
	return s.change(func() error {
		for len(logs) > 0 {
			n, bytes := 0, 0
			for n < len(logs) && bytes < partBytes {
				bytes += len(logs[n].Data)
				n++
			}
			if err := s.append(logs[:n]); err != nil {
				return err
			}
			logs = logs[n:]
		}
		return nil
	})
}

// append writes entries at the end, all of them or none.
func (s *Store) append(logs []*raft.Log) error {
	batch := s.db.NewBatch()
	defer func() { _ = batch.Close() }()
	for _, l := range logs {
		op := batch.SetDeferred(1+indexBytes, headBytes+len(l.Data))
		putEntry(op.Key, op.Value, l)
		if err := op.Finish(); err != nil {
			return err //nolint:wrapcheck // never
		}
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		return err //nolint:wrapcheck // the caller names the store
	}
	if s.last.Load() == 0 {
		s.first.Store(logs[0].Index)
	}
	newest := logs[len(logs)-1]
	s.last.Store(newest.Index)
	m := s.marker.mark
	m.last, m.lastTerm = newest.Index, newest.Term
	return s.marker.raise(m)
}

// GetLog implements raft.LogStore. An entry that is damaged ends the node: Raft would try
// to read it again and again, or panic.
func (s *Store) GetLog(index uint64, l *raft.Log) error {
	key := entryKey(index)
	value, release, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return raft.ErrLogNotFound
	}
	if err == nil {
		err = errors.Join(readEntry(key, value, l), release.Close())
	}
	if err != nil {
		err = fmt.Errorf("read the log %s: %w", s.path, err)
		s.fail(err)
	}
	return err
}

// DeleteRange implements raft.LogStore.
func (s *Store) DeleteRange(from, to uint64) error {
	return s.change(func() error {
		if last := s.last.Load(); from <= last && last <= to {
			_, left, err := bounds(s.db, entryKey(0), entryKey(from))
			if err == nil {
				err = s.lower(left)
			}
			if err != nil {
				return err
			}
		}
		if err := s.db.DeleteRange(entryKey(from), entryKey(to+1), pebble.Sync); err != nil {
			return err //nolint:wrapcheck // the caller names the store
		}
		return s.measure()
	})
}

// lower lowers the mark to what will be the last entry, 0 for none.
func (s *Store) lower(last uint64) error {
	m := s.marker.mark
	if m.last, m.lastTerm = last, 0; last > 0 {
		var l raft.Log
		if err := s.GetLog(last, &l); err != nil {
			return err
		}
		m.lastTerm = l.Term
	}
	return s.marker.lower(m)
}

// Set implements raft.StableStore.
func (s *Store) Set(name, value []byte) error {
	return s.change(func() error {
		if err := s.db.Set(valueKey(name), sealValue(name, value), pebble.Sync); err != nil {
			return err //nolint:wrapcheck // the caller names the store
		}
		m := s.marker.mark
		switch string(name) {
		case KeyCurrentTerm:
			m.term = binary.BigEndian.Uint64(value)
		case KeyLastVoteTerm:
			m.voteTerm = binary.BigEndian.Uint64(value)
		}
		return s.marker.raise(m)
	})
}

// SetUint64 implements raft.StableStore. Raft panics if it fails for the term.
func (s *Store) SetUint64(name []byte, v uint64) error {
	return s.Set(name, binary.BigEndian.AppendUint64(nil, v))
}

// Get implements raft.StableStore. The error is ErrNotFound for what was never set.
func (s *Store) Get(name []byte) ([]byte, error) {
	b, release, err := s.db.Get(valueKey(name))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read the log %s: %w", s.path, err)
	}
	value, err := openValue(name, b)
	return append([]byte(nil), value...), errors.Join(err, release.Close())
}

// GetUint64 implements raft.StableStore.
func (s *Store) GetUint64(name []byte) (uint64, error) {
	b, err := s.Get(name)
	if err != nil {
		return 0, err
	}
	return number(name, b)
}

// Own writes down whose log it is, once: a folder is never put together of two nodes'.
func (s *Store) Own(nodeID string) error {
	if had, err := s.Get([]byte(KeyNodeID)); err == nil && string(had) == nodeID {
		return nil
	}
	return s.Set([]byte(KeyNodeID), []byte(nodeID))
}
