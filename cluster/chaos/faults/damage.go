package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/keysteward/keysteward/node/raftlog"
)

// Damage is something that happens to the files of a stopped node.
type Damage string

// Damages. Each of them has to be found out when the node starts.
const (
	LogCut          Damage = "log cut"
	LogGarbage      Damage = "log entry garbage"
	LogEntryFlipped Damage = "bit of a log entry flipped"
	LogMarkGone     Damage = "mark of the log gone"
	LogGone         Damage = "log gone"
	TermGone        Damage = "term and vote gone"
	SnapshotFlipped Damage = "bit of a snapshot flipped"
	SnapshotCut     Damage = "snapshot cut"
	SnapshotMeta    Damage = "snapshot's meta.json cut"
	IDGone          Damage = "node-id gone"
)

// Damages are all.
func Damages() []Damage {
	return []Damage{LogCut, LogGarbage, LogEntryFlipped, LogMarkGone, LogGone, TermGone, SnapshotFlipped, SnapshotCut, SnapshotMeta, IDGone}
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
	log := filepath.Join(data, raftlog.Folder)
	switch d {
	case LogCut, LogGarbage, LogEntryFlipped:
		entry, err := drawEntry(data, r)
		if err != nil {
			return err
		}
		return d.spoil(log, entry, r)
	case LogMarkGone:
		return os.Remove(filepath.Join(log, "MARK")) //nolint:wrapcheck // says which file
	case TermGone:
		return each(log, []byte(raftlog.KeyCurrentTerm), func(b []byte, at int) []byte { b[at] ^= 1; return b })
	case LogGone:
		return os.RemoveAll(log) //nolint:wrapcheck // says which file
	case IDGone:
		return os.Remove(filepath.Join(data, "node-id")) //nolint:wrapcheck // says which file
	case SnapshotFlipped, SnapshotCut, SnapshotMeta:
		return d.inflictSnapshot(filepath.Join(data, snapshots), r)
	}
	return fmt.Errorf("%w: %s", ErrNothingToDamage, d)
}

// spoil damages every copy of a log entry: some, the store reads no more.
func (d Damage) spoil(log string, entry []byte, r *rand.Rand) error {
	bit, in := byte(1)<<r.IntN(8), r.IntN(len(entry))
	garbage := make([]byte, len(entry))
	for i := range garbage {
		garbage[i] = byte(r.Uint32()) //nolint:gosec // any byte will do
	}
	return each(log, entry, func(b []byte, at int) []byte {
		switch d {
		case LogCut:
			return b[:at+in]
		case LogEntryFlipped:
			b[at+in] ^= bit
		default:
			copy(b[at:], garbage)
		}
		return b
	})
}

// each changes all files of a log that have some bytes in them, at each place where they are.
func each(log string, what []byte, how func(b []byte, at int) []byte) error {
	list, err := os.ReadDir(log)
	found := false
	for _, e := range list {
		err = errors.Join(err, change(filepath.Join(log, e.Name()), func(b []byte) []byte {
			for at := 0; ; at = min(at+1, len(b)) {
				next := bytes.Index(b[at:], what)
				if next < 0 {
					return b
				}
				found = true
				at += next
				b = how(b, at)
			}
		}))
	}
	if err == nil && !found {
		err = ErrNothingToDamage
	}
	return err
}

// drawEntry returns the last bytes of one of the entries of a log: few enough to be in one
// piece in the files, with rare exceptions.
func drawEntry(data string, r *rand.Rand) ([]byte, error) {
	const part = 32
	var list [][]byte
	err := raftlog.Read(data, slog.New(slog.DiscardHandler), func(l *raft.Log) error {
		if len(l.Data) >= part {
			list = append(list, l.Data[len(l.Data)-part:])
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

// inflictSnapshot damages the newest snapshot: an older one is not needed, and a node starts
// without it.
func (d Damage) inflictSnapshot(folder string, r *rand.Rand) error {
	snapshot, err := newestSnapshot(folder)
	if err != nil {
		return err
	}
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

// newestSnapshot is the folder of the snapshot with the highest term and index; it is called
// TERM-INDEX-MILLISECONDS.
func newestSnapshot(folder string) (path string, err error) {
	list, err := filepath.Glob(filepath.Join(folder, "*-*-*[0-9]"))
	var newest [3]uint64
	for _, p := range list {
		var id [3]uint64
		if n, _ := fmt.Sscanf(filepath.Base(p), "%d-%d-%d", &id[0], &id[1], &id[2]); n == len(id) && slices.Compare(id[:], newest[:]) > 0 {
			path, newest = p, id
		}
	}
	if path == "" {
		err = errors.Join(err, ErrNothingToDamage)
	}
	return path, err
}

func change(path string, how func([]byte) []byte) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrNothingToDamage, path)
	}
	if err != nil {
		return err //nolint:wrapcheck // says which file
	}
	return os.WriteFile(path, how(b), 0o600) //nolint:wrapcheck // says which file
}
