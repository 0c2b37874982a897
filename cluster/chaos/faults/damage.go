package faults

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/keysteward/keysteward/node/boltfile"
)

// Damage is something that happens to the files of a stopped node.
type Damage string

// Damages. Each of them has to be found out when the node starts.
const (
	LogCut          Damage = "log cut"
	LogGarbage      Damage = "page of the log garbage"
	LogEntryFlipped Damage = "bit of a log entry flipped"
	LogMetaGarbage  Damage = "newest meta page of the log garbage"
	LogGone         Damage = "log gone"
	TermGone        Damage = "term and vote gone"
	SnapshotFlipped Damage = "bit of a snapshot flipped"
	SnapshotCut     Damage = "snapshot cut"
	SnapshotMeta    Damage = "snapshot's meta.json cut"
	IDGone          Damage = "node-id gone"
)

// Damages are all.
func Damages() []Damage {
	return []Damage{LogCut, LogGarbage, LogEntryFlipped, LogMetaGarbage, LogGone, TermGone, SnapshotFlipped, SnapshotCut, SnapshotMeta, IDGone}
}

var (
	// ErrNothingToDamage says that the node has no file of that kind (yet). It was started
	// again and nothing was done.
	ErrNothingToDamage = errors.New("there is nothing of it to damage")
	// ErrNotNoticed says that a node started with damaged data.
	ErrNotNoticed = errors.New("the node did not notice that its data is damaged")
)

const (
	// refuseTime is how long a node may take to refuse its data.
	refuseTime = 30 * time.Second
	logFile    = "raft.db"
	snapshots  = "snapshots"
)

// Damage kills a node, damages its files and starts it again: it has to end, else the
// error wraps ErrNotNoticed. It is healed by setting its data aside and starting it: the
// others let it in under a new ID. The random numbers say where the damage is.
func (s Stage) Damage(i int, d Damage, r *rand.Rand) Fault {
	return New("damage of "+NodeName(i)+": "+string(d), func(ctx context.Context) (func(context.Context) error, error) {
		if err := s.kill(ctx, i); err != nil {
			return nil, err
		}
		if err := d.inflict(s.Nodes.DataDir(i), r); err != nil {
			return nil, errors.Join(err, s.start(i)(ctx))
		}
		if err := s.start(i)(ctx); err != nil {
			return nil, err
		}
		if err := s.awaitEnd(ctx, i, refuseTime); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotNoticed, err)
		}
		return func(ctx context.Context) error {
			if err := s.setAside(i); err != nil {
				return err
			}
			return s.start(i)(ctx)
		}, nil
	})
}

// LoseDisk kills a node, sets its data aside and starts it again: the others have to let
// it in under a new ID. There is nothing to heal.
func (s Stage) LoseDisk(i int) Fault {
	return New("disk of "+NodeName(i)+" lost", func(ctx context.Context) (func(context.Context) error, error) {
		if err := s.kill(ctx, i); err != nil {
			return nil, err
		}
		if err := s.setAside(i); err != nil {
			return nil, err
		}
		return s.start(i), s.start(i)(ctx)
	})
}

// setAside moves what is in the data folder of a node that does not run into a new one
// beside it. The folder itself may be where a disk is mounted.
func (s Stage) setAside(i int) error {
	data := s.Nodes.DataDir(i)
	aside, err := os.MkdirTemp(filepath.Dir(data), "data.aside-")
	if err != nil {
		return err //nolint:wrapcheck // says which folder
	}
	if err := os.CopyFS(aside, os.DirFS(data)); err != nil {
		return fmt.Errorf("set the data aside: %w", err)
	}
	return s.EmptyDisk(i)
}

// EmptyDisk removes all that a node that does not run has on its disk.
func (s Stage) EmptyDisk(i int) error {
	data := s.Nodes.DataDir(i)
	entries, err := os.ReadDir(data)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(data, e.Name())))
	}
	if err != nil {
		return fmt.Errorf("empty the disk of %s: %w", NodeName(i), err)
	}
	return nil
}

func (d Damage) inflict(data string, r *rand.Rand) error {
	in := func(name string) string { return filepath.Join(data, name) }
	switch d {
	case LogCut:
		return change(in(logFile), func(b []byte) []byte { return b[:r.IntN(len(b)*3/4)] })
	case LogGarbage, LogEntryFlipped:
		entry, err := drawEntry(in(logFile), r)
		if err != nil {
			return err
		}
		return change(in(logFile), func(b []byte) []byte { return d.spoil(b, entry, r) })
	case LogMetaGarbage:
		return change(in(logFile), func(b []byte) []byte { b[newestMeta(b)+20] ^= 1 << r.IntN(8); return b })
	case TermGone:
		return change(in(logFile), func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("CurrentTerm"), []byte("CurrentTerN")) })
	case LogGone:
		return os.Remove(in(logFile)) //nolint:wrapcheck // says which file
	case IDGone:
		return os.Remove(in("node-id")) //nolint:wrapcheck // says which file
	case SnapshotFlipped, SnapshotCut, SnapshotMeta:
		return d.inflictSnapshot(in(snapshots), r)
	}
	return fmt.Errorf("%w: %s", ErrNothingToDamage, d)
}

// spoil damages every copy of a log entry: of some, bolt reads none any more.
func (d Damage) spoil(b, entry []byte, r *rand.Rand) []byte {
	bit, garbage := byte(1)<<r.IntN(8), make([]byte, pageSize)
	for i := range garbage {
		garbage[i] = byte(r.Uint32()) //nolint:gosec // any byte will do
	}
	for at := 0; ; {
		next := bytes.Index(b[at:], entry)
		if next < 0 {
			return b
		}
		at += next
		if d == LogEntryFlipped {
			b[at+dataAt(entry)] ^= bit
		} else {
			page := at &^ (pageSize - 1)
			copy(b[page:page+pageSize], garbage)
		}
		at += len(entry)
	}
}

const pageSize = 4096

// dataAt is where in an entry, which is in MessagePack, the bytes of its data are.
func dataAt(entry []byte) int {
	const header = 6 // the longest there is, with a byte of the data
	return bytes.Index(entry, []byte("Data")) + len("Data") + header
}

// drawEntry returns one of the entries of a log, as it is kept, that has data.
func drawEntry(path string, r *rand.Rand) ([]byte, error) {
	var list [][]byte
	err := boltfile.Walk(path, func(bucket string, _, value []byte) error {
		if at := dataAt(value); bucket == "logs" && len(value) < pageSize/2 && at+32 < len(value) {
			list = append(list, bytes.Clone(value))
		}
		return nil
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // says which file
	}
	if len(list) == 0 {
		return nil, ErrNothingToDamage
	}
	return list[r.IntN(len(list))], nil
}

// newestMeta is where the meta page is that bolt reads.
func newestMeta(b []byte) int {
	const transaction = 16 + 48
	if binary.LittleEndian.Uint64(b[transaction:]) > binary.LittleEndian.Uint64(b[pageSize+transaction:]) {
		return 0
	}
	return pageSize
}

func (d Damage) inflictSnapshot(folder string, r *rand.Rand) error {
	list, err := filepath.Glob(filepath.Join(folder, "*-*-*[0-9]"))
	if err != nil || len(list) == 0 {
		return errors.Join(err, ErrNothingToDamage)
	}
	snapshot := list[r.IntN(len(list))]
	cut := func(b []byte) []byte { return b[:r.IntN(len(b))] }
	switch d {
	case SnapshotMeta:
		return change(filepath.Join(snapshot, "meta.json"), cut)
	case SnapshotCut:
		return change(filepath.Join(snapshot, "state.bin"), cut)
	default:
		return change(filepath.Join(snapshot, "state.bin"), func(b []byte) []byte {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
			return b
		})
	}
}

func change(path string, how func([]byte) []byte) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) < 2*pageSize && filepath.Base(path) == logFile {
		return fmt.Errorf("%w: %s", ErrNothingToDamage, path)
	}
	if err != nil {
		return err //nolint:wrapcheck // says which file
	}
	return os.WriteFile(path, how(b), 0o600) //nolint:wrapcheck // says which file
}
