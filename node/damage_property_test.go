package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The same for what is said about snapshots.
func TestNoDamageOfASnapshotPasses(t *testing.T) {
	t.Parallel()
	whole := usedFolder(t)
	path := copyFolder(t, whole)
	newest, older := newestOf(t, path)
	files := []string{filepath.Join(newest, metaFile), filepath.Join(newest, stateFile), filepath.Join(older, metaFile), filepath.Join(older, stateFile)}
	rapid.Check(t, func(t *rapid.T) {
		file := rapid.SampledFrom(files).Draw(t, "file")
		original, err := os.ReadFile(file)
		require.NoError(t, err)
		defer func() { require.NoError(t, os.WriteFile(file, original, 0o600)) }()
		b := append([]byte(nil), original...)
		at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
		if rapid.Bool().Draw(t, "cut") {
			b = b[:at]
		} else {
			b[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		require.NoError(t, os.WriteFile(file, b, 0o600))
		if err = verified(path); err != nil || filepath.Dir(file) == newest {
			require.ErrorIs(t, err, ErrDamaged, "%s", strings.TrimPrefix(file, path))
			return
		}
		store, err := raft.NewFileSnapshotStoreWithLogger(path, 2, hclog.NewNullLogger())
		require.NoError(t, err)
		list, err := store.List()
		require.NoError(t, err)
		require.Equal(t, filepath.Base(newest), list[0].ID, "what Raft takes for the newest")
	})
}
