package node

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The library never removes a snapshot whose meta.json it can not read. It is told of
// once, and is out of the way then; whatever else is there stays.
func TestUnreadableOlderSnapshotIsSetAside(t *testing.T) {
	t.Parallel()
	path := copyFolder(t, usedFolder(t))
	newest, older := newestOf(t, path)
	setSnapshotsAside(path, logTo(&journal{}))
	require.DirExists(t, older, "it is whole")
	require.NoError(t, os.Truncate(filepath.Join(older, metaFile), 20))

	m := newMember(t, &wires{}, "n1")
	m.cfg.DataDir = path
	m.up()
	m.down()
	require.NoDirExists(t, older)
	require.DirExists(t, newest)
	require.FileExists(t, filepath.Join(path, asidePrefix+filepath.Base(older), metaFile))
	j := &journal{}
	_, err := newestSnapshot(filepath.Join(path, snapshotsFolder), logTo(j))
	require.NoError(t, err)
	require.False(t, j.has("level=WARN"), "not told of again")
}
