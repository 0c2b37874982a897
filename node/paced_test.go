package node

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPacedWriter: whatever the sizes of the writes, all of it comes out, every piece is
// synced, and the rest is no longer than the work.
func TestPacedWriter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		syncs := 0
		p := newPacedWriter(&out, func() {
			syncs++
			time.Sleep(5 * time.Millisecond) //nolint:forbidigo // of the test's own clock
		})
		begin := time.Now()
		for range 64 {
			n, err := p.Write(make([]byte, pieceBytes/16))
			require.NoError(t, err)
			require.Equal(t, pieceBytes/16, n)
		}
		require.Equal(t, 4*pieceBytes, out.Len())
		require.Equal(t, 4, syncs)
		require.Equal(t, 4*2*5*time.Millisecond, time.Since(begin))
	})
}

// TestSnapshotIsSyncedMeanwhile: the file of a snapshot that is being written is where
// syncSnapshot looks for it.
func TestSnapshotIsSyncedMeanwhile(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.done("a")
	sink, err := c.members[0].snapshots.Create(1, 1, 1, c.members[0].raft.GetConfiguration().Configuration(), 1, c.members[0].trans)
	require.NoError(t, err)
	require.FileExists(t, snapshotFile(c.members[0].cfg.DataDir, sink.ID()))
	require.NoError(t, sink.Cancel())
	require.NoError(t, c.members[0].Snapshot())
	require.NoError(t, c.members[0].Snapshot(), "nothing is new")
}
