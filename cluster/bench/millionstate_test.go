package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// TestLargeState: the state that is measured is one that commands can make, with keys of
// every kind.
func TestLargeState(t *testing.T) {
	t.Parallel()
	const keys = 11_000
	l, err := largeState(t.Context(), keys, millionPerPod)
	require.NoError(t, err)
	v := l.View()
	require.NoError(t, v.Check())
	counts := map[fsmpb.KeyState]uint64{}
	for state, n := range v.Meta().GetKeyCounts() {
		counts[fsmpb.KeyState(state)] = n
	}
	require.Equal(t, map[fsmpb.KeyState]uint64{
		fsmpb.KeyState_KEY_STATE_HELD: 9500, fsmpb.KeyState_KEY_STATE_RESTING: 500, fsmpb.KeyState_KEY_STATE_FREE: 890, fsmpb.KeyState_KEY_STATE_DEPOSITING: 110,
		fsmpb.KeyState_KEY_STATE_UNSPECIFIED: 0, fsmpb.KeyState_KEY_STATE_GENERATED: 0, fsmpb.KeyState_KEY_STATE_RETIRED: 0,
	}, counts)
}

// TestPlace: what is kept in a file comes to a node's folder as its snapshot.
func TestPlace(t *testing.T) {
	t.Parallel()
	file, folder := filepath.Join(t.TempDir(), "state"), t.TempDir()
	require.NoError(t, keep(t.Context(), file, 200, 10))
	require.NoError(t, keep(t.Context(), file, 1, 1), "it is there")
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	size, err := place(file, folder, []nodeServer{{ID: "a", Address: "127.0.0.1:1"}})
	require.NoError(t, err)
	require.EqualValues(t, len(want), size)
	snapshots, err := raft.NewFileSnapshotStore(folder, 1, io.Discard)
	require.NoError(t, err)
	list, err := snapshots.List()
	require.NoError(t, err)
	require.Len(t, list, 1)
	meta, in, err := snapshots.Open(list[0].ID)
	require.NoError(t, err)
	m := fsm.New()
	require.NoError(t, m.Restore(in))
	require.NoError(t, in.Close())
	require.Equal(t, meta.Index, m.View().Meta().GetAppliedIndex())
	require.EqualValues(t, loneTerm, m.View().Meta().GetSession())
}
