package node

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/raftlog"
)

// probe is in a log entry behind the newest snapshot of a usedFolder.
const probe = "probe-of-a-damaged-entry"

// usedFolder is the data folder of a node that was a member, has snapshots, and was
// stopped.
func usedFolder(t *testing.T) (path string) {
	t.Helper()
	c := newCluster(t, 1, calm)
	m := c.members[0]
	for i := range 30 {
		c.done("early-" + strconv.Itoa(i))
	}
	for i := range 2 {
		require.NoError(t, m.raft.Snapshot().Error())
		c.done("between-" + strconv.Itoa(i))
	}
	c.done(probe)
	for i := range 30 {
		c.done("late-" + strconv.Itoa(i))
	}
	require.NoError(t, m.Join("c0de"))
	require.NoError(t, m.Joined())
	m.down()
	return m.cfg.DataDir
}

// copyFolder returns a copy that may be damaged.
func copyFolder(t *testing.T, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.CopyFS(to, os.DirFS(path)))
	require.NoError(t, filepath.WalkDir(to, func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			err = os.Chmod(name, 0o700) //nolint:gosec // a folder
		}
		return err
	}))
	return to
}

// openDamaged opens a node on the folder and returns why it refused.
func openDamaged(t *testing.T, path string) error {
	t.Helper()
	m := newMember(t, &wires{}, "n1")
	m.cfg.DataDir = path
	n, err := Open(m.cfg, m.listen())
	if err == nil {
		m.Node = n
	}
	return err
}

// change rewrites a file.
func change(t *testing.T, path string, how func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, how(b), 0o600))
}

// inLog changes what is in the log by the library that wrote it.
func inLog(t *testing.T, path string, do func(db *pebble.DB) error) {
	t.Helper()
	db, err := pebble.Open(filepath.Join(path, raftlog.Folder), &pebble.Options{FormatMajorVersion: pebble.FormatWALSyncChunks, Logger: silent{}})
	require.NoError(t, err)
	require.NoError(t, do(db))
	require.NoError(t, db.Close())
}

type silent struct{}

func (silent) Infof(string, ...any)      {}
func (silent) Errorf(string, ...any)     {}
func (silent) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

// entryKey is how the log keeps an entry.
func entryKey(index uint64) []byte { return binary.BigEndian.AppendUint64([]byte{'e'}, index) }

// inFiles changes the bytes of all files of the log that have some in them.
func inFiles(t *testing.T, path, old, changed string) {
	t.Helper()
	found := false
	for name, b := range tree(t, filepath.Join(path, raftlog.Folder)) {
		if strings.Contains(b, old) {
			found = true
			require.NoError(t, os.WriteFile(name, []byte(strings.ReplaceAll(b, old, changed)), 0o600))
		}
	}
	require.True(t, found, old)
}

// inStore changes the log as the node does.
func inStore(t *testing.T, path string, do func(s *raftlog.Store) error) {
	t.Helper()
	s, err := raftlog.Open(path, slog.New(slog.DiscardHandler), func(err error) { t.Error(err) })
	require.NoError(t, err)
	require.NoError(t, do(s))
	require.NoError(t, s.Close())
}

// probeIndex is that of the log entry with the probe.
func probeIndex(t *testing.T, path string) (index uint64) {
	t.Helper()
	require.NoError(t, raftlog.Read(path, slog.New(slog.DiscardHandler), func(l *raft.Log) error {
		if bytes.Contains(l.Data, []byte(probe)) {
			index = l.Index
		}
		return nil
	}))
	require.NotZero(t, index)
	return index
}

// newestOf names the folder of the newest snapshot, and of the one before.
func newestOf(t *testing.T, path string) (newest, older string) {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(path, snapshotsFolder, "*"))
	require.NoError(t, err)
	require.Len(t, list, 2)
	return list[1], list[0]
}

// flipHalfway flips a bit in the middle of a file.
func flipHalfway(t *testing.T, path string) {
	t.Helper()
	change(t, path, func(b []byte) []byte { b[len(b)/2] ^= 4; return b })
}

func verified(path string) error {
	f := &folder{path: path}
	var err error
	if f.nodeID, err = readID(path, "n1"); err != nil {
		return err
	}
	if err := f.readCluster(); err != nil {
		return err
	}
	return f.verify(slog.New(slog.DiscardHandler))
}

// tree is what is in the files of a folder.
func tree(t *testing.T, path string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(path, func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			var b []byte
			b, err = os.ReadFile(name) //nolint:gosec // the test's own folder
			all[name] = string(b)
		}
		return err
	}))
	return all
}

// knows tells whether what write wrote was applied.
func knows(m *member, id string) bool {
	for x := range m.View().Members() {
		if x.GetNodeId() == id {
			return true
		}
	}
	return false
}
