package raftlog

import (
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

var quiet = slog.New(slog.DiscardHandler)

func open(t require.TestingT, dataDir string) *Store {
	s, err := Open(dataDir, quiet, func(err error) { require.NoError(t, err) })
	require.NoError(t, err)
	return s
}

func entry(index, term uint64) *raft.Log {
	return &raft.Log{
		Index: index, Term: term, Type: raft.LogCommand, AppendedAt: time.Unix(int64(index), 7),
		Data: []byte(strings.Repeat(fmt.Sprintf("entry-%d-%d ", index, term), 5)),
	}
}

func entries(from, to, term uint64) (list []*raft.Log) {
	for i := from; i <= to; i++ {
		list = append(list, entry(i, term))
	}
	return list
}

// used is a data folder whose log is in tables and in the write-ahead log: entries 21 to
// 120, of terms 3 and 4.
func used(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir)
	require.NoError(t, s.Own("n1"))
	require.NoError(t, s.SetUint64([]byte(KeyCurrentTerm), 3))
	require.NoError(t, s.StoreLogs(entries(1, 60, 3)))
	require.NoError(t, s.db.Flush())
	require.NoError(t, s.DeleteRange(1, 20))
	require.NoError(t, s.SetUint64([]byte(KeyCurrentTerm), 4))
	require.NoError(t, s.SetUint64([]byte(KeyLastVoteTerm), 4))
	require.NoError(t, s.Set([]byte(KeyLastVoteCand), []byte("10.0.0.1:7400")))
	for i := uint64(61); i <= 120; i++ {
		require.NoError(t, s.StoreLog(entry(i, 4)))
	}
	require.NoError(t, s.Close())
	return dir
}

// want is what fits together with a used folder.
var want = Whole{NodeID: "n1", SnapshotIndex: 40, SnapshotTerm: 3}

func copied(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.CopyFS(to, os.DirFS(dir)))
	return to
}

// files are the paths and bytes of all files below a folder.
func files(t require.TestingT, dir string) map[string][]byte {
	all := map[string][]byte{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			all[path], err = os.ReadFile(path) //nolint:gosec // the test's own folder
		}
		return err
	}))
	return all
}

// with are those of the files that have these bytes in them.
func with(t require.TestingT, dir, text string) (paths []string) {
	for path, b := range files(t, dir) {
		if strings.Contains(string(b), text) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

func named(t require.TestingT, dir, pattern string) []string {
	paths, err := filepath.Glob(filepath.Join(dir, Folder, pattern))
	require.NoError(t, err)
	require.NotEmpty(t, paths, pattern)
	return paths
}

func change(t require.TestingT, path string, how func([]byte) []byte) {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, how(b), 0o600))
}

// content is all that a log says.
func content(t require.TestingT, dir string) map[string]string {
	all := map[string]string{}
	require.NoError(t, walk(filepath.Join(dir, Folder), quiet, func(key, value []byte) error {
		all[string(key)] = string(value)
		return nil
	}, func(name, value []byte) error {
		all["value "+string(name)] = string(value)
		return nil
	}))
	return all
}

func keysOf(m map[uint64]*raft.Log) []uint64 { return slices.Sorted(maps.Keys(m)) }
