package raftlog

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/hashicorp/raft"
)

// Whole is what must fit together with the log of a node.
type Whole struct {
	NodeID string
	// SnapshotIndex and SnapshotTerm are of the newest snapshot, 0 without.
	SnapshotIndex, SnapshotTerm uint64
	// Forgive hears of damaged entries that the snapshot has in it; nil for an error.
	Forgive func(index uint64, err error)
}

// Found is what was read.
type Found struct {
	Entries  int
	Last     uint64 // index, 0 for none
	LastTerm uint64
	Term     uint64 // the highest that was heard of
}

// Verify reads all of the log in a data folder and changes nothing. The error wraps
// ErrDamaged if it is not what was written, and names the file if it can not be read.
func Verify(dataDir string, want Whole, log *slog.Logger) (Found, error) {
	path := filepath.Join(dataDir, Folder)
	k := &kept{want: want}
	var err error
	if k.mark, err = readMark(path); err == nil {
		err = walk(path, log, k.entry, k.value)
	}
	if err == nil {
		err = k.check()
	}
	if err != nil {
		return Found{}, fmt.Errorf("the log %s: %w", path, err)
	}
	return k.found, nil
}

// Read calls entry for all entries of the log of a node that does not run, one after the
// other. What Read hands over may be kept.
func Read(dataDir string, log *slog.Logger, entry func(*raft.Log) error) error {
	return walk(filepath.Join(dataDir, Folder), log, func(key, value []byte) error {
		l := &raft.Log{}
		if err := readEntry(key, value, l); err != nil {
			return err
		}
		return entry(l)
	}, func([]byte, []byte) error { return nil })
}

// walk reads the store in a folder. Neither function may keep what it is given.
func walk(path string, log *slog.Logger, entry, value func(key, value []byte) error) error {
	var failed heard
	db, err := openStore(path, true, log, failed.fail)
	if err != nil {
		return err
	}
	err = guarded(func() error {
		it, err := db.NewIter(nil)
		if err != nil {
			return err //nolint:wrapcheck // the caller names the store
		}
		for it.First(); it.Valid() && err == nil; it.Next() {
			switch key := it.Key(); key[0] {
			case kindEntry:
				err = entry(key, it.Value())
			case kindValue:
				err = value(key[1:], it.Value())
			default:
				err = fmt.Errorf("%w: there is a key %x", ErrDamaged, key)
			}
		}
		return errors.Join(err, it.Error(), it.Close())
	})
	closed := guarded(db.Close)
	return damaged(errors.Join(err, failed.failure(), closed))
}

// kept is what was read of a log, and what of it must fit together.
type kept struct {
	want  Whole
	found Found
	mark  mark

	run      uint64 // the first of the entries at the end that follow each other
	markTerm uint64 // of the entry that the mark names
	voteTerm uint64
	voted    bool
	owner    string
}

func (k *kept) entry(key, value []byte) error {
	var l raft.Log
	err := readEntry(key, value, &l)
	if err != nil {
		index, short := indexOf(key)
		if short != nil || k.want.Forgive == nil || index > k.want.SnapshotIndex {
			return err
		}
		k.want.Forgive(index, err)
		return nil
	}
	f := &k.found
	if f.Entries == 0 || l.Index != f.Last+1 {
		k.run = l.Index
	} else if l.Term < f.LastTerm {
		return fmt.Errorf("%w: log entry %d is of term %d, the one before of term %d", ErrDamaged, l.Index, l.Term, f.LastTerm)
	}
	if l.Index == k.mark.last {
		k.markTerm = l.Term
	}
	f.Entries++
	f.Last, f.LastTerm = l.Index, l.Term
	return nil
}

func indexOf(key []byte) (uint64, error) {
	if len(key) != 1+indexBytes {
		return 0, ErrDamaged
	}
	return number(key, key[1:])
}

func (k *kept) value(name, b []byte) error {
	v, err := openValue(name, b)
	if err != nil {
		return err
	}
	switch string(name) {
	case KeyCurrentTerm:
		k.found.Term, err = number(name, v)
	case KeyLastVoteTerm:
		k.voteTerm, err = number(name, v)
	case KeyLastVoteCand:
		k.voted = len(v) > 0
	case KeyNodeID:
		k.owner = string(v)
	default:
		err = fmt.Errorf("%w: there is a value of %q", ErrDamaged, name)
	}
	return err
}

// check looks at what must fit together.
func (k *kept) check() error {
	f, want := k.found, k.want
	least := max(f.LastTerm, want.SnapshotTerm, k.mark.term)
	lost := k.mark.last > f.Last || k.markTerm != 0 && k.markTerm != k.mark.lastTerm
	if want.Forgive != nil && k.mark.last <= want.SnapshotIndex {
		lost = false
	}
	switch {
	case k.owner != "" && k.owner != want.NodeID:
		return fmt.Errorf("%w: it is of the node %s, and this one is %s", ErrDamaged, k.owner, want.NodeID)
	case f.Last > want.SnapshotIndex && k.run > want.SnapshotIndex+1:
		return fmt.Errorf("%w: the entries %d to %d are gone", ErrDamaged, want.SnapshotIndex+1, k.run-1)
	case lost:
		return fmt.Errorf("%w: it ends with entry %d of term %d, and entry %d of term %d was written", ErrDamaged, f.Last, f.LastTerm, k.mark.last, k.mark.lastTerm)
	case f.Term < least:
		return fmt.Errorf("%w: it remembers the term %d and there was a term %d, so it forgot how it voted", ErrDamaged, f.Term, least)
	case k.voteTerm > f.Term, k.voted && k.voteTerm == 0, k.voteTerm < k.mark.voteTerm:
		return fmt.Errorf("%w: it remembers a vote in term %d, and the term %d; it voted in term %d", ErrDamaged, k.voteTerm, f.Term, k.mark.voteTerm)
	}
	return nil
}
