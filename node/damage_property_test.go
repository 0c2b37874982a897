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

	"github.com/keysteward/keysteward/node/boltfile"
)

// remembered is all that Raft would read of a log.
func remembered(t require.TestingT, path string) map[string]string {
	all := map[string]string{}
	require.NoError(t, boltfile.Walk(filepath.Join(path, logFile), func(bucket string, key, value []byte) error {
		var text string
		if bucket == bucketLogs {
			var l raft.Log
			require.NoError(t, decodeEntry(value, &l))
			text = string(append([]byte{byte(l.Type)}, l.Data...)) + string(indexKey(l.Term)) + string(indexKey(l.Index))
		} else {
			v, err := unsealValue(key, value)
			require.NoError(t, err)
			text = string(v)
		}
		all[bucket+"/"+string(key)] = text
		return nil
	}))
	return all
}

// Whatever happens to some bytes of the log, it is either seen or changes nothing that is
// remembered: it was in a page that nobody uses, or in a time for people.
func TestNoDamageOfTheLogPasses(t *testing.T) {
	t.Parallel()
	whole := usedFolder(t)
	want := remembered(t, whole)
	original, err := os.ReadFile(filepath.Join(whole, logFile))
	require.NoError(t, err)
	path := copyFolder(t, whole)
	seen := 0
	rapid.Check(t, func(t *rapid.T) {
		b := append([]byte(nil), original...)
		at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
		length := min(rapid.SampledFrom([]int{1, 1, 1, 2, 16, 512, 4096}).Draw(t, "length"), len(b)-at)
		switch rapid.IntRange(0, 3).Draw(t, "how") {
		case 0:
			b = b[:at]
		case 1:
			clear(b[at : at+length])
		case 2:
			b[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		default:
			copy(b[at:], rapid.SliceOfN(rapid.Byte(), length, length).Draw(t, "garbage"))
		}
		require.NoError(t, os.WriteFile(filepath.Join(path, logFile), b, 0o600))
		if err := verified(path); err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			seen++
			return
		}
		require.Equal(t, want, remembered(t, path))
	})
	require.Positive(t, seen)
}

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
