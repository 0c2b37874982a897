package fsm

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// twins are two replicas that applied the same log.
func twins(t *testing.T) (a, b *replica) {
	t.Helper()
	return newReplica(t), newReplica(t)
}

// mark makes a checkpoint that confirms nothing and returns the mark.
func (r *replica) mark() *fsmpb.Mark {
	r.t.Helper()
	r.ok(&fsmpb.Checkpoint{})
	return r.View().Meta().GetMark()
}

// tryCheckpoint applies a checkpoint and returns the error of the machine.
func (r *replica) tryCheckpoint(confirmed *fsmpb.Mark) error {
	r.t.Helper()
	r.index++
	_, err := r.Apply(r.index, r.term, entry(r.t, command(r.term, 1, &fsmpb.Checkpoint{Confirmed: confirmed})))
	return err
}

func TestRunningHashIsTheSameForTheSameLog(t *testing.T) {
	t.Parallel()
	a, b := twins(t)
	for _, r := range []*replica{a, b} {
		r.ask("x", "u", 2)
		r.refused(NotFound, &fsmpb.Release{Namespace: "ns", Pod: "nobody", Fence: 1})
	}
	require.Equal(t, a.mark(), b.mark())
	require.NoError(t, a.tryCheckpoint(b.View().Meta().GetMark()))
	require.NotEqual(t, a.View().Meta().GetMark(), b.View().Meta().GetMark(), "the next mark is of another place")
}

func TestReplicaThatDiffersStops(t *testing.T) {
	t.Parallel()
	for name, differ := range map[string]func(a, b *replica){
		"another command": func(a, b *replica) {
			a.ok(&fsmpb.SetSpareKeys{Keys: 1})
			b.ok(&fsmpb.SetSpareKeys{Keys: 2})
		},
		"another term of an entry": func(a, b *replica) {
			a.ok(&fsmpb.Tick{ElapsedMs: 1})
			b.index++
			_, err := b.Apply(b.index, b.term+1, entry(b.t, command(b.term, a.wall, &fsmpb.Tick{ElapsedMs: 1})))
			require.NoError(b.t, err)
		},
		"the same command, decided differently": func(a, b *replica) {
			tick := &fsmpb.Tick{ElapsedMs: 5}
			txn := b.store.Load().db.Txn(true) // as a fault of the memory would
			meta := proto.CloneOf(b.View().Meta())
			meta.ClusterTimeMs++
			mustInsert(txn, tableMeta, meta)
			txn.Commit()
			a.ok(tick)
			b.ok(tick)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := twins(t)
			differ(a, b)
			mark := a.mark()
			b.mark()
			before := digest(b.View())
			require.ErrorIs(t, b.tryCheckpoint(mark), ErrDiverged)
			require.Equal(t, before, digest(b.View()))
			require.NoError(t, a.tryCheckpoint(mark))
		})
	}
}

// What a checkpoint says of a mark that this replica does not have says nothing, as
// does one of a session that is over.
func TestCheckpointOfAnotherMark(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	require.NoError(t, r.tryCheckpoint(&fsmpb.Mark{Index: 3, Hash: hash32(1)}), "there is no mark yet")
	mark := r.mark()
	require.NoError(t, r.tryCheckpoint(&fsmpb.Mark{Index: mark.GetIndex() - 1, Hash: hash32(1)}))
	mark = r.mark()
	r.index++
	_, err := r.Apply(r.index, r.term, entry(t, command(r.term-1, 1, &fsmpb.Checkpoint{Confirmed: &fsmpb.Mark{Index: mark.GetIndex(), Hash: hash32(1)}})))
	require.NoError(t, err)
}

// A replica that has the state from a snapshot goes on with the same hash.
func TestRunningHashGoesThroughSnapshots(t *testing.T) {
	t.Parallel()
	a, b := twins(t)
	require.NoError(t, b.Restore(bytes.NewReader(snapshot(t, a.View()))))
	for _, r := range []*replica{a, b} {
		r.ask("x", "u", 2)
	}
	require.Equal(t, a.mark(), b.mark())
}

func TestFeatureLevel(t *testing.T) {
	t.Parallel()
	r := &replica{Machine: New(), t: t, term: 1}
	r.ok(&fsmpb.BeginSession{NodeId: "n1", NewClusterId: "c"})
	require.Empty(t, r.View().Meta().GetRunningHash())
	r.refused(FeatureRefused, &fsmpb.Checkpoint{})
	r.ok(&fsmpb.RaiseFeatureLevel{Level: 1})
	require.NotEmpty(t, r.View().Meta().GetRunningHash())
	r.ok(&fsmpb.Checkpoint{})
	r.ok(&fsmpb.RaiseFeatureLevel{})
	require.Equal(t, uint32(1), r.View().Meta().GetFeatureLevel(), "it is never lowered")
}

// A level that this code does not know stops the node, whether it comes by the log or
// by a snapshot.
func TestUnknownFeatureLevel(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	_, err := r.Apply(r.index+1, r.term, entry(t, command(r.term, 1, &fsmpb.RaiseFeatureLevel{Level: FeatureLevel + 1})))
	require.ErrorIs(t, err, ErrUnknownCommand)
	txn := r.store.Load().db.Txn(true)
	meta := proto.CloneOf(r.View().Meta())
	meta.FeatureLevel = FeatureLevel + 1
	mustInsert(txn, tableMeta, meta)
	txn.Commit()
	require.ErrorIs(t, New().Restore(bytes.NewReader(snapshot(t, r.View()))), ErrUnknownCommand)
}
