package node

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// grown is a log of which most was deleted, and what is left of it.
func grown(t *testing.T) (folder string, size int64) {
	t.Helper()
	folder = t.TempDir()
	s, err := openLog(folder, func(error) {})
	require.NoError(t, err)
	for i := uint64(1); i <= 200; i++ {
		require.NoError(t, s.StoreLog(&raft.Log{Index: i, Term: 3, Type: raft.LogCommand, Data: bytes.Repeat([]byte{byte(i)}, 32<<10)}))
	}
	require.NoError(t, s.SetUint64([]byte(keyCurrentTerm), 7))
	require.NoError(t, s.DeleteRange(1, 190))
	require.NoError(t, s.Close())
	return folder, logSize(t, folder)
}

func logSize(t *testing.T, folder string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(folder, logFile))
	require.NoError(t, err)
	return info.Size()
}

// requireGrown checks that the log has what it had.
func requireGrown(t *testing.T, folder string) {
	t.Helper()
	s, err := openLog(folder, func(error) {})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	first, err := s.FirstIndex()
	require.NoError(t, err)
	last, err := s.LastIndex()
	require.NoError(t, err)
	require.Equal(t, [2]uint64{191, 200}, [2]uint64{first, last})
	var l raft.Log
	require.NoError(t, s.GetLog(195, &l))
	require.Equal(t, bytes.Repeat([]byte{195}, 32<<10), l.Data)
	require.EqualValues(t, 3, l.Term)
	term, err := s.GetUint64([]byte(keyCurrentTerm))
	require.NoError(t, err)
	require.EqualValues(t, 7, term)
	require.NoFileExists(t, filepath.Join(folder, logFile+compactSuffix))
}

func TestCompaction(t *testing.T) {
	t.Parallel()
	plenty := func(string) (space, error) { return space{free: 1 << 40, all: 1 << 41}, nil }
	for name, tc := range map[string]struct {
		from    int64
		free    func(string) (space, error)
		prepare func(t *testing.T, folder string)
		shrinks bool
		err     string
	}{
		"most of it is free":     {from: 1, free: plenty, shrinks: true},
		"too small to bother":    {from: 1 << 30, free: plenty},
		"no room for a copy":     {from: 1, free: func(string) (space, error) { return space{free: 1 << 20}, nil }, err: errNoRoom.Error()},
		"room that is not known": {from: 1, free: func(string) (space, error) { return space{}, errors.New("no disk") }, err: "no disk"},
		"a copy that a crash left": {from: 1, free: plenty, shrinks: true, prepare: func(t *testing.T, folder string) {
			t.Helper()
			require.NoError(t, os.WriteFile(filepath.Join(folder, logFile+compactSuffix), []byte("half of it"), 0o600))
		}},
		"a copy that can not be made": {from: 1, free: plenty, err: "what an earlier start left", prepare: func(t *testing.T, folder string) {
			t.Helper()
			require.NoError(t, os.MkdirAll(filepath.Join(folder, logFile+compactSuffix, "x"), 0o700))
			t.Cleanup(func() { _ = os.RemoveAll(filepath.Join(folder, logFile+compactSuffix)) })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder, before := grown(t)
			if tc.prepare != nil {
				tc.prepare(t, folder)
			}
			j := &journal{}
			err := (&compactor{path: filepath.Join(folder, logFile), from: tc.from, free: tc.free, log: logTo(j)}).run()
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
			} else {
				require.NoError(t, err)
			}
			require.Equal(t, tc.shrinks, j.has("the log file was compacted"))
			require.Equal(t, tc.shrinks, logSize(t, folder) < before/4)
			_ = os.RemoveAll(filepath.Join(folder, logFile+compactSuffix, "x"))
			_ = os.Remove(filepath.Join(folder, logFile+compactSuffix))
			requireGrown(t, folder)
			if tc.shrinks { // and is not worth it again
				require.NoError(t, (&compactor{path: filepath.Join(folder, logFile), from: 1, free: plenty, log: logTo(j)}).run())
				requireGrown(t, folder)
			}
		})
	}
	require.NoError(t, (&compactor{path: filepath.Join(t.TempDir(), logFile)}).run(), "a new node has no log")
}

// A node that is killed in the middle of a compaction, or right before the copy takes the
// log's place, starts with what it had.
func TestNodeStartsCompacted(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, calm)
	c.done("kept")
	m := c.members[0]
	m.down()
	log := filepath.Join(m.cfg.DataDir, logFile)
	raw, err := os.ReadFile(log)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(log+compactSuffix, raw[:len(raw)/2], 0o600))
	m.up()
	c.done("more")
	require.NotNil(t, m.View().Member("kept"))
	require.NoFileExists(t, log+compactSuffix)
}
