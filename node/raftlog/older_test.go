package raftlog

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"pgregory.net/rapid"
)

// writeOlder writes the log of an older version, with checksums or, as the first versions
// did, without.
func writeOlder(t *testing.T, dir string, sums bool, entries []*raft.Log, values map[string][]byte) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(dir, OlderFile), 0o600, &bbolt.Options{NoFreelistSync: true})
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *bbolt.Tx) error {
		logs, err := tx.CreateBucketIfNotExists([]byte(olderLogs))
		require.NoError(t, err)
		conf, err := tx.CreateBucketIfNotExists([]byte(olderValues))
		require.NoError(t, err)
		for _, l := range entries {
			if sums {
				head := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, l.Index), l.Term)
				l.Extensions = binary.BigEndian.AppendUint32([]byte{olderSumMark}, valueSum(append(head, byte(l.Type)), l.Data))
			}
			var b []byte
			require.NoError(t, codec.NewEncoderBytes(&b, &codec.MsgpackHandle{BasicHandle: codec.BasicHandle{TimeNotBuiltin: true}}).Encode(l)) //nolint:staticcheck // as it was written
			require.NoError(t, logs.Put(binary.BigEndian.AppendUint64(nil, l.Index), b))
			l.Extensions = nil
		}
		for name, v := range values {
			if sums {
				v = binary.BigEndian.AppendUint32(append(append([]byte(nil), v...), olderSumMark), valueSum([]byte(name), v))
			}
			require.NoError(t, conf.Put([]byte(name), v))
		}
		return nil
	}))
	require.NoError(t, db.Close())
}

func olderValuesOf(term uint64) map[string][]byte {
	return map[string][]byte{
		KeyCurrentTerm:  binary.BigEndian.AppendUint64(nil, term),
		KeyLastVoteTerm: binary.BigEndian.AppendUint64(nil, term),
		KeyLastVoteCand: []byte("10.0.0.1:7400"),
		KeyNodeID:       []byte("n1"),
	}
}

func TestOlderLogs(t *testing.T) {
	t.Parallel()
	for name, sums := range map[string]bool{"with checksums": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			all := entries(21, 2000, 3)
			writeOlder(t, dir, sums, all, olderValuesOf(4))
			old, err := os.ReadFile(filepath.Join(dir, OlderFile))
			require.NoError(t, err)
			_, err = Open(dir, quiet, func(error) {})
			require.ErrorIs(t, err, errOlder, "it would begin with an empty log")
			require.Equal(t, map[string][]byte{filepath.Join(dir, OlderFile): old}, files(t, dir))
			require.NoError(t, os.MkdirAll(filepath.Join(dir, Folder+newSuffix, "half"), 0o700)) // a crash in the middle
			require.NoError(t, Migrate(dir, quiet))
			check := func() {
				t.Helper()
				said, err := os.ReadFile(filepath.Join(dir, OlderFile))
				require.NoError(t, err)
				require.Equal(t, notice, string(said))
				_, err = bbolt.Open(filepath.Join(dir, OlderFile), 0o600, &bbolt.Options{NoFreelistSync: true})
				require.ErrorIs(t, err, bolterrors.ErrInvalid, "what an older version comes to")
				found, err := Verify(dir, want, quiet)
				require.NoError(t, err)
				require.Equal(t, Found{Entries: len(all), Last: 2000, LastTerm: 3, Term: 4}, found)
			}
			check()
			var had []*raft.Log
			require.NoError(t, Read(dir, quiet, func(l *raft.Log) error { had = append(had, l); return nil }))
			require.Len(t, had, len(all))
			for i, l := range had {
				require.True(t, l.AppendedAt.Equal(all[i].AppendedAt))
				l.AppendedAt = all[i].AppendedAt
				require.Equal(t, all[i], l)
			}
			s := open(t, dir)
			cand, err := s.Get([]byte(KeyLastVoteCand))
			require.NoError(t, err)
			require.Equal(t, "10.0.0.1:7400", string(cand))
			require.NoError(t, s.Close())

			require.NoError(t, os.WriteFile(filepath.Join(dir, OlderFile), old, 0o600)) // a crash before it went
			require.NoError(t, Migrate(dir, quiet))
			check()
			require.NoError(t, Migrate(dir, quiet), "there is nothing left to do")

			require.NoError(t, os.Remove(filepath.Join(dir, OlderFile)))
			writeOlder(t, dir, sums, entries(1, 3, 5), olderValuesOf(5)) // somebody removed it and ran the older version
			require.ErrorIs(t, Migrate(dir, quiet), errBoth)
			check2, err := Verify(dir, want, quiet)
			require.NoError(t, err)
			require.EqualValues(t, 2000, check2.Last, "nothing was changed")
		})
	}
}

func TestOlderLogsThatAreDamaged(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func([]byte) []byte{
		"cut":        func(b []byte) []byte { return b[:len(b)/2] },
		"first page": func(b []byte) []byte { copy(b[16:], "garbage"); copy(b[4096+16:], "garbage"); return b },
		"a page": func(b []byte) []byte { // in the middle of the entries
			at := len(b) / 3 &^ 4095
			copy(b[at:at+4096], make([]byte, 4096))
			return b
		},
		"a bit": func(b []byte) []byte {
			for i := range b {
				if string(b[i:min(len(b), i+12)]) == "entry-100-3 " {
					b[i] ^= 1
				}
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			writeOlder(t, dir, true, entries(1, 3000, 3), olderValuesOf(4))
			path := filepath.Join(dir, OlderFile)
			change(t, path, damage)
			before := files(t, dir)
			require.ErrorIs(t, Migrate(dir, quiet), ErrDamaged)
			after := files(t, dir)
			require.Equal(t, before[path], after[path], "it is as it was")
			require.NoDirExists(t, filepath.Join(dir, Folder))
		})
	}
}

// Whatever is damaged of an older log: nothing ends the process.
func TestNoDamageOfOlderLogsEndsTheProcess(t *testing.T) {
	t.Parallel()
	whole, root := t.TempDir(), t.TempDir()
	writeOlder(t, whole, true, entries(1, 1500, 3), olderValuesOf(4))
	old, err := os.ReadFile(filepath.Join(whole, OlderFile))
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(root, "data") //nolint:usetesting // one for each draw
		require.NoError(t, err)
		defer func() { require.NoError(t, os.RemoveAll(dir)) }()
		b := append([]byte(nil), old...)
		for range rapid.IntRange(1, 8).Draw(t, "changes") {
			page := rapid.IntRange(0, len(b)/4096-1).Draw(t, "page") * 4096
			b[page+rapid.IntRange(0, 63).Draw(t, "at")] = rapid.Byte().Draw(t, "byte") // what bolt trusts
		}
		if rapid.Bool().Draw(t, "cut") {
			b = b[:rapid.IntRange(0, len(b)).Draw(t, "to")]
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, OlderFile), b, 0o600))
		if err := Migrate(dir, quiet); err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			require.NoDirExists(t, filepath.Join(dir, Folder))
		}
	})
}
