package node

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/raftlog"
)

// The table of damages: what happens to the files of a stopped node, and what it says
// when it is started again. DESIGN.md has the same table.
func TestDamageIsRefused(t *testing.T) {
	t.Parallel()
	whole := usedFolder(t)
	other := usedFolder(t)
	in := func(path, name string) string { return filepath.Join(path, name) }
	log := func(path string) string { return in(path, raftlog.Folder) }
	for name, damage := range map[string]struct {
		do  func(t *testing.T, path string)
		say string
	}{
		"log cut": {func(t *testing.T, path string) {
			t.Helper()
			list, err := filepath.Glob(in(log(path), "*.log"))
			require.NoError(t, err)
			for _, name := range list {
				change(t, name, func(b []byte) []byte { return b[:len(bytes.TrimRight(b, "\x00"))/2] })
			}
		}, "was written"},
		"log gone": {func(t *testing.T, path string) { t.Helper(); require.NoError(t, os.RemoveAll(log(path))) }, "it was a member of a cluster, and its log raft is gone"},
		"log gone and snapshots gone": {func(t *testing.T, path string) {
			t.Helper()
			require.NoError(t, os.RemoveAll(log(path)))
			require.NoError(t, os.RemoveAll(in(path, snapshotsFolder)))
		}, "it was a member of a cluster, and its log raft is gone"},
		"log new and snapshots gone": {func(t *testing.T, path string) {
			t.Helper()
			require.NoError(t, os.RemoveAll(in(path, snapshotsFolder)))
			require.NoError(t, os.RemoveAll(log(path)))
			inStore(t, path, func(*raftlog.Store) error { return nil })
		}, "its log is empty"},
		"log new": {func(t *testing.T, path string) {
			t.Helper()
			require.NoError(t, os.RemoveAll(log(path)))
			inStore(t, path, func(*raftlog.Store) error { return nil })
		}, "forgot how it voted"},
		"log of another node": {func(t *testing.T, path string) {
			t.Helper()
			require.NoError(t, errors.Join(os.RemoveAll(log(path)), os.CopyFS(log(path), os.DirFS(log(other)))))
			_ = os.RemoveAll(in(path, snapshotsFolder))
			_ = os.CopyFS(in(path, snapshotsFolder), os.DirFS(in(other, snapshotsFolder)))
		}, "it is of the node n1-"},
		"entry flipped": {func(t *testing.T, path string) { t.Helper(); inFiles(t, path, probe, "P"+probe[1:]) }, "damaged"},
		"entry gone": {func(t *testing.T, path string) {
			t.Helper()
			index := probeIndex(t, path)
			inLog(t, path, func(db *pebble.DB) error { return db.Delete(entryKey(index), nil) })
		}, "are gone"},
		"term older": {func(t *testing.T, path string) {
			t.Helper()
			inStore(t, path, func(s *raftlog.Store) error { return s.SetUint64([]byte(raftlog.KeyCurrentTerm), 1) })
		}, "forgot how it voted"},
		"vote in a later term": {func(t *testing.T, path string) {
			t.Helper()
			inStore(t, path, func(s *raftlog.Store) error { return s.SetUint64([]byte(raftlog.KeyLastVoteTerm), 1000) })
		}, "remembers a vote"},
		"snapshot flipped": {func(t *testing.T, path string) {
			t.Helper()
			newest, _ := newestOf(t, path)
			change(t, in(newest, stateFile), func(b []byte) []byte { b[len(b)/2] ^= 4; return b })
		}, "state.bin does not match its checksum"},
		"older snapshot's meta.json of a higher index": { // the library would take it for the newest
			func(t *testing.T, path string) {
				t.Helper()
				_, older := newestOf(t, path)
				require.NoError(t, os.Remove(in(older, metaSumFile)))
				change(t, in(older, metaFile), func(b []byte) []byte {
					return bytes.Replace(b, []byte(`"Index":`), []byte(`"Index":9`), 1)
				})
			}, "meta.json is about",
		},
		"entry that the snapshot has in it flipped": { // members that are behind may need it
			func(t *testing.T, path string) {
				t.Helper()
				inLog(t, path, func(db *pebble.DB) error { return db.Set(entryKey(5), []byte("garbage and no more than that"), nil) })
			}, "log entry 5 does not match",
		},
		"snapshot cut": {func(t *testing.T, path string) {
			t.Helper()
			newest, _ := newestOf(t, path)
			change(t, in(newest, stateFile), func(b []byte) []byte { return b[:len(b)/2] })
		}, "state.bin has"},
		"snapshot's state gone": {func(t *testing.T, path string) {
			t.Helper()
			newest, _ := newestOf(t, path)
			require.NoError(t, os.Remove(in(newest, stateFile)))
		}, "files of its newest snapshot"},
		"snapshot's meta.json gone": {func(t *testing.T, path string) {
			t.Helper()
			newest, _ := newestOf(t, path)
			require.NoError(t, os.Remove(in(newest, metaFile)))
		}, "files of its newest snapshot"},
		"meta.json cut": {func(t *testing.T, path string) {
			t.Helper()
			newest, _ := newestOf(t, path)
			change(t, in(newest, metaFile), func(b []byte) []byte { return b[:len(b)/2] })
		}, "meta.json can not be read"},
		"meta.json flipped": {func(t *testing.T, path string) {
			t.Helper()
			newest, _ := newestOf(t, path)
			change(t, in(newest, metaFile), func(b []byte) []byte {
				return bytes.Replace(b, []byte(`"Suffrage":0`), []byte(`"Suffrage":1`), 1)
			})
		}, "meta.json does not match its checksum"},
		"meta.json of another index, of an older version": {func(t *testing.T, path string) {
			t.Helper()
			newest, _ := newestOf(t, path)
			require.NoError(t, os.Remove(in(newest, metaSumFile)))
			change(t, in(newest, metaFile), func(b []byte) []byte {
				return bytes.Replace(b, []byte(`"Index":`), []byte(`"Index":1`), 1)
			})
		}, "meta.json is about"},
		"snapshot's name": {func(t *testing.T, path string) {
			t.Helper()
			newest, _ := newestOf(t, path)
			require.NoError(t, os.Rename(newest, in(path, snapshotsFolder+"/snap")))
		}, "its name is none"},
		"node-id gone": {func(t *testing.T, path string) { t.Helper(); require.NoError(t, os.Remove(in(path, idFile))) }, "has lost its ID"},
		"node-id empty": {func(t *testing.T, path string) {
			t.Helper()
			change(t, in(path, idFile), func([]byte) []byte { return nil })
		}, "is empty"},
		"node-id flipped": {func(t *testing.T, path string) {
			t.Helper()
			change(t, in(path, idFile), func(b []byte) []byte {
				b[3] = "0123456789abcdef0"[strings.IndexByte("0123456789abcdef", b[3])+1]
				return b
			})
		}, "it is of the node"},
		"cluster file garbage": {func(t *testing.T, path string) {
			t.Helper()
			change(t, in(path, clusterFile), func([]byte) []byte { return []byte("\x00\x00") })
		}, "not a cluster's ID"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := copyFolder(t, whole)
			damage.do(t, path)
			before := tree(t, path)
			err := openDamaged(t, path)
			require.True(t, isAny(err, ErrDamaged, ErrForeignFolder), "%v", err)
			require.ErrorContains(t, err, damage.say)
			require.ErrorContains(t, err, "set the folder aside")
			require.Equal(t, before, tree(t, path), "the folder was changed")
		})
	}
}

// What is no damage: what crashes leave, and what older versions wrote.
func TestWholeFoldersAreTaken(t *testing.T) {
	t.Parallel()
	whole := usedFolder(t)
	for name, change := range map[string]func(t *testing.T, path string){
		"nothing": func(*testing.T, string) {},
		"a crash in the middle of a snapshot": func(t *testing.T, path string) {
			t.Helper()
			require.NoError(t, os.Mkdir(filepath.Join(path, snapshotsFolder, "9-999-1.tmp"), 0o700))
			put(t, path, snapshotsFolder+"/9-999-1.tmp/meta.json", "{")
		},
		"a crash in the middle of removing an old snapshot": func(t *testing.T, path string) {
			t.Helper()
			_, older := newestOf(t, path)
			require.NoError(t, os.Remove(filepath.Join(older, metaFile)))
		},
		"a crash before a snapshot had its checksum": func(t *testing.T, path string) {
			t.Helper()
			newest, _ := newestOf(t, path)
			require.NoError(t, os.Remove(filepath.Join(newest, metaSumFile)))
		},
		"an older snapshot damaged": func(t *testing.T, path string) {
			t.Helper()
			_, older := newestOf(t, path)
			flipHalfway(t, filepath.Join(older, stateFile))
		},
		"an older snapshot's meta.json cut": func(t *testing.T, path string) {
			t.Helper()
			_, older := newestOf(t, path)
			require.NoError(t, os.Truncate(filepath.Join(older, metaFile), 20))
		},
		"a gap below the snapshot": func(t *testing.T, path string) {
			t.Helper()
			inLog(t, path, func(db *pebble.DB) error { return db.Delete(entryKey(5), nil) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := copyFolder(t, whole)
			change(t, path)
			m := newMember(t, &wires{}, "n1")
			m.cfg.DataDir = path
			m.up()
			eventually(t, "the log is applied", func() bool { return knows(m, probe) })
			m.down()
			require.NoError(t, verified(path))
		})
	}
}

// An entry that is damaged while the node runs ends it.
func TestDamageIsSeenWhileReading(t *testing.T) {
	t.Parallel()
	path := copyFolder(t, usedFolder(t))
	index := probeIndex(t, path)
	inLog(t, path, func(db *pebble.DB) error {
		value, release, err := db.Get(entryKey(index))
		require.NoError(t, err)
		changed := bytes.Clone(value)
		changed[7]++ // its term
		return errors.Join(release.Close(), db.Set(entryKey(index), changed, nil))
	})
	var failed error
	s, err := raftlog.Open(path, slog.New(slog.DiscardHandler), func(err error) { failed = err })
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	var l raft.Log
	require.NoError(t, s.GetLog(index-1, &l))
	require.NoError(t, failed)
	require.ErrorIs(t, s.GetLog(index, &l), ErrDamaged)
	require.ErrorIs(t, failed, ErrDamaged)
	require.ErrorIs(t, s.GetLog(index+1000, &l), raft.ErrLogNotFound)
}
