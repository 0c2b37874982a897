package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// OlderFile is where older versions kept the log, in a bolt file. Now there is a text that
// they can not read: without it they would begin with an empty log.
const OlderFile = "raft.db"

const notice = "This is no log: it is in the folder " + Folder + " beside this file. An older version of\n" +
	"keysteward can not run on this data folder any more.\n"

const (
	olderLogs   = "logs"
	olderValues = "conf"
	// olderSumMark begins a checksum: of an entry, in its extensions, and of a value, behind
	// it. The first versions wrote none.
	olderSumMark  = 0xC5
	olderSumBytes = 1 + sumBytes
	olderBatch    = 1 << 20 // bytes that are copied at once
)

// errBoth says that a folder has two logs of which neither is a copy of the other.
var errBoth = errors.New("there is a log of an older version as well, and it does not say the same: an older version ran on this folder meanwhile")

// Migrate rewrites the log of an older version in the present form, once, before
// anything else reads it: whole, and then a notice takes the place of the old file. The
// error wraps ErrDamaged if the old log is not what was written.
func Migrate(dataDir string, log *slog.Logger) error {
	from := filepath.Join(dataDir, OlderFile)
	if there, err := isLog(from); !there {
		return err
	}
	began := time.Now()
	old := &older{path: from}
	err := old.open()
	if err == nil {
		err = makeNew(dataDir, log, old.copyTo)
	}
	if err == nil {
		err = old.same(dataDir)
	}
	if old.db != nil {
		err = errors.Join(err, old.db.Close())
	}
	if err != nil {
		return fmt.Errorf("the log %s: %w", from, err)
	}
	if err := writeNotice(dataDir); err != nil {
		return err
	}
	log.Info("the log of an older version was rewritten", "file", from, "folder", filepath.Join(dataDir, Folder), "entries", old.entries, "took", time.Since(began))
	return nil
}

// isLog tells whether there is a file that is not our notice.
func isLog(path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err //nolint:wrapcheck // names the file
	}
	b := make([]byte, len(notice)+1)
	n, err := io.ReadFull(f, b)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return false, errors.Join(err, f.Close())
	}
	return string(b[:n]) != notice, f.Close() //nolint:wrapcheck // names the file
}

// writeNotice puts the notice into the place of the old file, for good.
func writeNotice(dataDir string) error {
	path := filepath.Join(dataDir, OlderFile)
	f, err := os.OpenFile(path+newSuffix, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err //nolint:wrapcheck // names the file
	}
	_, err = f.WriteString(notice)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(path+newSuffix, path), syncFolder(dataDir))
}

// older is a log in a bolt file.
type older struct {
	path    string
	db      *bbolt.DB
	entries int
}

// open opens the file to be read. Bolt's own check is of no use: it ends the process, from
// a goroutine of its own, for some of what it finds.
func (o *older) open() error {
	return unfaulted(func() error {
		info, err := os.Stat(o.path)
		if err != nil {
			return err //nolint:wrapcheck // names the file
		}
		if info.Size() == 0 { // bolt would fill it, and may not write
			return fmt.Errorf("%w: it is empty", ErrDamaged)
		}
		o.db, err = bbolt.Open(o.path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
		if err != nil {
			if !errors.Is(err, bolterrors.ErrTimeout) { // somebody has it
				err = damaged(err)
			}
			return err
		}
		return o.db.View(func(tx *bbolt.Tx) error { return whole(tx, info.Size()) }) //nolint:wrapcheck // the caller names the file
	})
}

// whole checks that the file has all of its pages, and its buckets.
func whole(tx *bbolt.Tx, size int64) error {
	if size < tx.Size() {
		return fmt.Errorf("%w: it has %d bytes of %d", ErrDamaged, size, tx.Size())
	}
	if tx.Bucket([]byte(olderLogs)) == nil || tx.Bucket([]byte(olderValues)) == nil {
		return fmt.Errorf("%w: a bucket is gone", ErrDamaged)
	}
	return nil
}

// unfaulted is guarded for what reads a mapped file, whose pages may say that the next one
// is far behind its end.
func unfaulted(do func() error) error {
	return guarded(func() error {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		return do()
	})
}

// copyTo writes all of the log into a new store.
func (o *older) copyTo(db *pebble.DB) (m mark, err error) {
	err = o.view(func(tx *bbolt.Tx) error {
		return errors.Join(o.copyEntries(tx, db, &m), o.copyValues(tx, db, &m))
	})
	return m, err
}

func (o *older) view(do func(*bbolt.Tx) error) error {
	return unfaulted(func() error { return o.db.View(do) }) //nolint:wrapcheck // the caller names the file
}

func (o *older) copyEntries(tx *bbolt.Tx, db *pebble.DB, m *mark) error {
	batch := db.NewBatch()
	commit := func() error {
		err := errors.Join(batch.Commit(pebble.Sync), batch.Close())
		batch = db.NewBatch()
		return err
	}
	err := tx.Bucket([]byte(olderLogs)).ForEach(func(key, value []byte) error {
		l, err := olderEntry(key, value)
		if err != nil {
			return err
		}
		if l.Index <= m.last {
			return fmt.Errorf("%w: log entry %d is behind entry %d", ErrDamaged, l.Index, m.last)
		}
		op := batch.SetDeferred(1+indexBytes, headBytes+len(l.Data))
		putEntry(op.Key, op.Value, l)
		o.entries++
		m.last, m.lastTerm = l.Index, l.Term
		if err := op.Finish(); err != nil || batch.Len() < olderBatch {
			return err //nolint:wrapcheck // never
		}
		return commit()
	})
	return errors.Join(err, commit(), batch.Close())
}

// olderEntry reads an entry, and checks it as far as its version let it be checked.
func olderEntry(key, value []byte) (*raft.Log, error) {
	index, err := number([]byte("an entry's key"), key)
	if err != nil {
		return nil, err
	}
	var l raft.Log
	if err := codec.NewDecoderBytes(value, new(codec.MsgpackHandle)).Decode(&l); err != nil {
		return nil, fmt.Errorf("%w: log entry %d can not be read: %w", ErrDamaged, index, err)
	}
	var head [17]byte
	binary.BigEndian.PutUint64(head[0:], l.Index)
	binary.BigEndian.PutUint64(head[8:], l.Term)
	head[16] = byte(l.Type)
	sum := binary.BigEndian.AppendUint32([]byte{olderSumMark}, valueSum(head[:], l.Data))
	if l.Index != index || len(l.Extensions) > 0 && string(sum) != string(l.Extensions) {
		return nil, fmt.Errorf("%w: log entry %d does not match its checksum, or is another one", ErrDamaged, index)
	}
	l.Extensions = nil
	return &l, nil
}

func (o *older) copyValues(tx *bbolt.Tx, db *pebble.DB, m *mark) error {
	return tx.Bucket([]byte(olderValues)).ForEach(func(name, b []byte) (err error) { //nolint:wrapcheck // the caller names the file
		value := b
		if at := len(b) - olderSumBytes; at >= 0 && b[at] == olderSumMark {
			if value, err = openValue(name, append(slices.Clone(b[:at]), b[at+1:]...)); err != nil {
				return err
			}
		}
		switch string(name) {
		case KeyCurrentTerm:
			m.term, err = number(name, value)
		case KeyLastVoteTerm:
			m.voteTerm, err = number(name, value)
		}
		return errors.Join(err, db.Set(valueKey(name), sealValue(name, value), pebble.Sync))
	})
}

// same checks that the present log is a copy of this one, which a crash may have left.
func (o *older) same(dataDir string) error {
	said, err := readMark(filepath.Join(dataDir, Folder))
	if err != nil {
		return err
	}
	var m mark
	err = o.view(func(tx *bbolt.Tx) error {
		if key, value := tx.Bucket([]byte(olderLogs)).Cursor().Last(); key != nil {
			l, err := olderEntry(key, value)
			if err != nil {
				return err
			}
			m.last, m.lastTerm = l.Index, l.Term
		}
		if b := tx.Bucket([]byte(olderValues)).Get([]byte(KeyCurrentTerm)); len(b) >= indexBytes {
			m.term = binary.BigEndian.Uint64(b)
		}
		m.voteTerm = said.voteTerm
		return nil
	})
	if err == nil && m != said {
		err = fmt.Errorf("%w: %w", ErrDamaged, errBoth)
	}
	return err
}
