package node

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
)

// The table of damages: what happens to the files of a stopped node, and what it says
// when it is started again. DESIGN.md has the same table.
func TestDamageIsRefused(t *testing.T) {
	t.Parallel()
	whole := usedFolder(t)
	other := usedFolder(t)
	in := func(path, name string) string { return filepath.Join(path, name) }
	db := func(path string) string { return in(path, logFile) }
	conf := func(key string, value []byte) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			t.Helper()
			inLog(t, path, func(_, conf *bbolt.Bucket) error {
				if value == nil {
					return conf.Delete([]byte(key))
				}
				return conf.Put([]byte(key), value)
			})
		}
	}
	for name, damage := range map[string]struct {
		do  func(t *testing.T, path string)
		say string
	}{
		"log cut in half": {func(t *testing.T, path string) {
			t.Helper()
			change(t, db(path), func(b []byte) []byte { return b[:len(b)/2] })
		}, "pages, and has"},
		"log cut to one page": {func(t *testing.T, path string) {
			t.Helper()
			change(t, db(path), func(b []byte) []byte { return b[:4096] })
		}, "second meta page"},
		"log emptied": {func(t *testing.T, path string) {
			t.Helper()
			change(t, db(path), func([]byte) []byte { return nil })
		}, "forgot how it voted"},
		"log gone": {func(t *testing.T, path string) { t.Helper(); require.NoError(t, os.Remove(db(path))) }, "raft.db is gone"},
		"log gone and snapshots gone": {func(t *testing.T, path string) {
			t.Helper()
			require.NoError(t, os.Remove(db(path)))
			require.NoError(t, os.RemoveAll(in(path, snapshotsFolder)))
		}, "it was a member of a cluster, and its log raft.db is gone"},
		"log new and snapshots gone": {func(t *testing.T, path string) {
			t.Helper()
			require.NoError(t, os.RemoveAll(in(path, snapshotsFolder)))
			change(t, db(path), func([]byte) []byte { return nil })
		}, "its log is empty"},
		"log of another node": {func(t *testing.T, path string) {
			t.Helper()
			change(t, db(path), func([]byte) []byte { b, _ := os.ReadFile(db(other)); return b })
			_ = os.RemoveAll(in(path, snapshotsFolder))
			_ = os.CopyFS(in(path, snapshotsFolder), os.DirFS(in(other, snapshotsFolder)))
		}, "the log is of the node n1-"},
		"first meta page garbage": {func(t *testing.T, path string) {
			t.Helper()
			change(t, db(path), func(b []byte) []byte { copy(b[16:], "garbage"); return b })
		}, "first meta page"},
		"second meta page garbage": {func(t *testing.T, path string) {
			t.Helper()
			change(t, db(path), func(b []byte) []byte { copy(b[4096+16:], "garbage"); return b })
		}, "second meta page"},
		"page garbage": {func(t *testing.T, path string) {
			t.Helper()
			change(t, db(path), func(b []byte) []byte {
				for at := bytes.Index(b, []byte(probe)); at >= 0; at = bytes.Index(b, []byte(probe)) {
					page := at &^ 4095
					copy(b[page:page+4096], bytes.Repeat([]byte("garbage!"), 512))
				}
				return b
			})
		}, "damaged"},
		"entry flipped": {func(t *testing.T, path string) {
			t.Helper()
			change(t, db(path), func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(probe), []byte("P"+probe[1:])) })
		}, "does not match its checksum"},
		"entry gone": {func(t *testing.T, path string) {
			t.Helper()
			index := probeIndex(t, path)
			inLog(t, path, func(logs, _ *bbolt.Bucket) error { return logs.Delete(indexKey(index)) })
		}, "are gone"},
		"entry under another's index": {func(t *testing.T, path string) {
			t.Helper()
			index := probeIndex(t, path)
			inLog(t, path, func(logs, _ *bbolt.Bucket) error {
				return logs.Put(indexKey(index), bytes.Clone(logs.Get(indexKey(index+1))))
			})
		}, "says that it is"},
		"entry without a field": {func(t *testing.T, path string) {
			t.Helper()
			index := probeIndex(t, path)
			inLog(t, path, func(logs, _ *bbolt.Bucket) error {
				l := decode(t, logs.Get(indexKey(index)))
				l.Extensions = nil // of an older version
				b := encode(t, l)
				require.Equal(t, byte(0x86), b[0], "a map of six")
				b[0]--
				return logs.Put(indexKey(index), b)
			})
		}, "not the form"},
		"entry no entry": {func(t *testing.T, path string) {
			t.Helper()
			index := probeIndex(t, path)
			inLog(t, path, func(logs, _ *bbolt.Bucket) error { return logs.Put(indexKey(index), []byte("garbage")) })
		}, "can not be read"},
		"term gone":        {conf(keyCurrentTerm, nil), "forgot how it voted"},
		"term garbage":     {conf(keyCurrentTerm, []byte{1, 2}), "2 bytes"},
		"term older":       {conf(keyCurrentTerm, sealValue([]byte(keyCurrentTerm), indexKey(1))), "forgot how it voted"},
		"term flipped":     {conf(keyCurrentTerm, append(sealValue([]byte(keyCurrentTerm), indexKey(7))[:7], 8, sumMark, 1, 2, 3, 4)), "checksum"},
		"vote flipped":     {conf(keyLastVoteCand, append([]byte("127.0.0.1:1"), sumMark, 1, 2, 3, 4)), "checksum"},
		"vote garbage":     {conf(keyLastVoteCand, []byte{1, 2, 3}), "no address"},
		"vote's term gone": {conf(keyLastVoteTerm, nil), "remembers a vote"},
		"votes gone": {func(t *testing.T, path string) {
			t.Helper()
			inLog(t, path, func(_, conf *bbolt.Bucket) error {
				return conf.ForEach(func(k, _ []byte) error { return conf.Delete(bytes.Clone(k)) })
			})
		}, "forgot how it voted"},
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
				inLog(t, path, func(logs, _ *bbolt.Bucket) error { return logs.Put(indexKey(5), []byte("garbage")) })
			}, "log entry 5 can not be read",
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
		}, "the log is of the node"},
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
		"an older version": func(t *testing.T, path string) {
			t.Helper()
			inLog(t, path, func(logs, conf *bbolt.Bucket) error { return agedLog(t, logs, conf) })
		},
		"a gap below the snapshot": func(t *testing.T, path string) {
			t.Helper()
			inLog(t, path, func(logs, _ *bbolt.Bucket) error { return logs.Delete(indexKey(5)) })
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

// agedLog rewrites the log as a version without checksums wrote it.
func agedLog(t *testing.T, logs, conf *bbolt.Bucket) error {
	t.Helper()
	err := logs.ForEach(func(k, v []byte) error {
		l := decode(t, v)
		require.Len(t, l.Extensions, sumBytes)
		l.Extensions = nil
		return logs.Put(bytes.Clone(k), encode(t, l))
	})
	require.NoError(t, err)
	require.NoError(t, conf.Delete([]byte(keyNodeID)))
	for _, key := range []string{keyCurrentTerm, keyLastVoteTerm, keyLastVoteCand} {
		v, err := unsealValue([]byte(key), conf.Get([]byte(key)))
		require.NoError(t, err)
		require.NoError(t, conf.Put([]byte(key), bytes.Clone(v)))
	}
	return nil
}

// An entry that is damaged while the node runs ends it.
func TestDamageIsSeenWhileReading(t *testing.T) {
	t.Parallel()
	path := copyFolder(t, usedFolder(t))
	index := probeIndex(t, path)
	inLog(t, path, func(logs, _ *bbolt.Bucket) error {
		l := decode(t, logs.Get(indexKey(index)))
		l.Term++
		return logs.Put(indexKey(index), encode(t, l))
	})
	var failed error
	s, err := openLog(path, func(err error) { failed = err })
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	var l raft.Log
	require.NoError(t, s.GetLog(index-1, &l))
	require.Empty(t, l.Extensions)
	require.NoError(t, failed)
	require.ErrorIs(t, s.GetLog(index, &l), ErrDamaged)
	require.ErrorIs(t, failed, ErrDamaged)
	require.ErrorIs(t, s.GetLog(index+1000, &l), raft.ErrLogNotFound)

	term, err := s.GetUint64([]byte(keyCurrentTerm))
	require.NoError(t, err)
	require.NotZero(t, term)
	plain, err := s.BoltStore.GetUint64([]byte(keyCurrentTerm))
	require.NoError(t, err)
	require.Equal(t, term, plain, "an older version reads it, too")
	require.NoError(t, s.BoltStore.Set([]byte(keyCurrentTerm), binary.BigEndian.AppendUint32(nil, 1)))
	_, err = s.GetUint64([]byte(keyCurrentTerm))
	require.ErrorIs(t, err, ErrDamaged)
}
