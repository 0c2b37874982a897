package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/raftlog"
)

const (
	loneTerm      = 1
	onTheWayPart  = 100 // one in so many keys has its deposit on its way
	restingPart   = 20  // one in so many pods went away, and its keys rest
	snapshotKinds = 1   // version of the library's snapshots
)

// lone is a state machine without a cluster: what is proposed is applied at once, as an
// entry of its own.
type lone struct {
	*fsm.Machine

	index uint64
}

// Propose implements stocked.
func (l *lone) Propose(_ context.Context, c *fsmpb.Command) (any, error) {
	c.Version, c.Session, c.WallMs = fsm.CommandVersion, loneTerm, 1_700_000_000_000
	entry, err := proto.Marshal(&fsmpb.Batch{Commands: []*fsmpb.Command{c}})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errStock, err)
	}
	l.index++
	results, err := l.Apply(l.index, loneTerm, entry)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errStock, err)
	}
	return results[0].Value, results[0].Err()
}

// largeState makes a state with so many keys by the commands that would make it, one
// after the other, in a state machine alone. Nine tenths are held by pods of keysPerPod
// keys, a twentieth of which went away; one in a hundred has its deposit on its way; what
// is left is the pool.
func largeState(ctx context.Context, keys, keysPerPod int) (*lone, error) {
	l := &lone{Machine: fsm.New()}
	if err := errors.Join(
		accept(ctx, l, &fsmpb.Command{Body: &fsmpb.Command_BeginSession{BeginSession: &fsmpb.BeginSession{NodeId: "maker", NewClusterId: "6b1f6f0e-2f0a-4c3e-9d57-0f4c1f6f0a11"}}}),
		accept(ctx, l, &fsmpb.Command{Body: &fsmpb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmpb.RaiseFeatureLevel{Level: fsm.FeatureLevel}}}),
		openStock(ctx, l),
	); err != nil {
		return nil, err
	}
	onTheWay := keys / onTheWayPart
	if err := stockPods(ctx, l, keys-onTheWay, keysPerPod); err != nil {
		return nil, err
	}
	for from := 0; from < onTheWay; from += stockChunk {
		pod := fmt.Sprintf("waits-%d", from)
		if err := errors.Join(accept(ctx, l, allocation(pod, uint32(min(stockChunk, onTheWay-from)))), generate(ctx, l)); err != nil { //nolint:gosec // at most 1000
			return nil, err
		}
		if _, err := signPlanned(ctx, l); err != nil {
			return nil, err
		}
	}
	if err := leave(ctx, l, restingPart); err != nil {
		return nil, err
	}
	return l, fillPool(ctx, l, keys)
}

// leave has one in so many pods of those that hold keys go away without a proof.
func leave(ctx context.Context, l *lone, part int) error {
	var gone []*fsmpb.Command
	n := 0
	for a := range l.View().Allocations() {
		if n++; n%part == 0 {
			c := releaseOf(a.GetPod().GetName(), a.GetFence())
			c.GetRelease().Proof = nil
			gone = append(gone, c)
		}
	}
	for _, c := range gone {
		if err := accept(ctx, l, c); err != nil {
			return err
		}
	}
	return nil
}

// keep writes a large state to a file as a snapshot has it, unless the file is there: it
// takes minutes to make.
func keep(ctx context.Context, path string, keys, keysPerPod int) (err error) {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	l, err := largeState(ctx, keys, keysPerPod)
	if err != nil {
		return err
	}
	f, err := os.Create(path + ".new")
	if err != nil {
		return fmt.Errorf("%w: %w", errStock, err)
	}
	_, err = l.View().WriteTo(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%w: %w", errStock, err)
	}
	return os.Rename(f.Name(), path) //nolint:wrapcheck // says which
}

// place makes the state of a file that of a node which has never been a member and is
// stopped: as a snapshot, written by the library, with the term that a member would
// remember.
func place(path, folder string, servers []nodeServer) (size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errStock, err)
	}
	defer f.Close()
	in := bufio.NewReader(f)
	var head, meta fsmpb.Record // what a stream begins with
	if err := errors.Join(protodelim.UnmarshalFrom(in, &head), protodelim.UnmarshalFrom(in, &meta)); err != nil {
		return 0, fmt.Errorf("%w: %s: %w", errStock, path, err)
	}
	snapshots, err := raft.NewFileSnapshotStore(folder, 1, io.Discard)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errStock, err)
	}
	_, trans := raft.NewInmemTransport("")
	sink, err := snapshots.Create(snapshotKinds, meta.GetMeta().GetAppliedIndex(), loneTerm, raft.Configuration{Servers: voters(servers)}, 1, trans)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errStock, err)
	}
	if _, err = f.Seek(0, io.SeekStart); err == nil {
		size, err = io.Copy(sink, f)
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("%w: %w", errStock, err), sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return 0, fmt.Errorf("%w: %w", errStock, err)
	}
	return size, remember(folder, loneTerm)
}

// remember writes a term to the disk of a node that is stopped.
func remember(folder string, term uint64) error {
	store, err := raftlog.Open(folder, slog.New(slog.DiscardHandler), func(error) {})
	if err != nil {
		return fmt.Errorf("%w: %w", errStock, err)
	}
	return errors.Join(store.SetUint64([]byte(raftlog.KeyCurrentTerm), term), store.Close())
}

// placeLarge starts all nodes on the state of a file, and returns its size.
func (c *stewardCluster) placeLarge(path string) (size int64, err error) {
	for _, m := range c.members {
		m.end(false)
		if size, err = place(path, m.args[2], c.servers); err != nil {
			return 0, err
		}
	}
	for _, m := range c.members {
		if err := m.start(); err != nil {
			return 0, err
		}
	}
	return size, nil
}
