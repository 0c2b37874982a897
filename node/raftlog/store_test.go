package raftlog

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Whatever is written, deleted and opened again: the store has what a list would have, and
// all of it is whole.
func TestStoreIsAList(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(root, "data") //nolint:usetesting // one for each draw
		require.NoError(t, err)
		s := open(t, dir)
		list, term := map[uint64]*raft.Log{}, uint64(1)
		last := func() uint64 {
			if all := keysOf(list); len(all) > 0 {
				return all[len(all)-1]
			}
			return 0
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				from := last() + rapid.SampledFrom([]uint64{1, 1, 1, 50}).Draw(t, "gap") // a snapshot was installed
				added := entries(from, from+rapid.Uint64Range(0, 5).Draw(t, "more"), term)
				require.NoError(t, s.StoreLogs(added))
				for _, l := range added {
					list[l.Index] = l
				}
			},
			"delete": func(t *rapid.T) {
				from := rapid.Uint64Range(0, last()+2).Draw(t, "from")
				to := rapid.Uint64Range(from, last()+3).Draw(t, "to")
				require.NoError(t, s.DeleteRange(from, to))
				for i := from; i <= to; i++ {
					delete(list, i)
				}
			},
			"term": func(t *rapid.T) {
				term++
				require.NoError(t, s.SetUint64([]byte(KeyCurrentTerm), term))
				require.NoError(t, s.SetUint64([]byte(KeyLastVoteTerm), term))
			},
			"flush": func(t *rapid.T) { require.NoError(t, s.db.Flush()) },
			"open again": func(t *rapid.T) {
				require.NoError(t, s.Close())
				at := last()
				found, err := Verify(dir, Whole{SnapshotIndex: at, SnapshotTerm: 1}, quiet)
				if term > 1 {
					require.NoError(t, err)
					require.Equal(t, len(list), found.Entries)
				}
				s = open(t, dir)
			},
			"": func(t *rapid.T) {
				first, err := s.FirstIndex()
				require.NoError(t, err)
				newest, err := s.LastIndex()
				require.NoError(t, err)
				require.Equal(t, last(), newest)
				if all := keysOf(list); len(all) > 0 {
					require.Equal(t, all[0], first)
				}
				var l raft.Log
				for i := first; i <= newest; i++ {
					if list[i] == nil {
						require.Equal(t, raft.ErrLogNotFound, s.GetLog(i, &l))
						continue
					}
					require.NoError(t, s.GetLog(i, &l))
					require.Equal(t, list[i].Data, l.Data)
					require.Equal(t, list[i].Term, l.Term)
					require.True(t, list[i].AppendedAt.Equal(l.AppendedAt))
				}
				if term > 1 {
					had, err := s.GetUint64([]byte(KeyCurrentTerm))
					require.NoError(t, err)
					require.Equal(t, term, had)
				}
			},
		})
		require.NoError(t, s.Close())
		require.NoError(t, os.RemoveAll(dir))
	})
}

func TestValues(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	_, err := s.GetUint64([]byte(KeyCurrentTerm))
	require.EqualError(t, err, "not found", "Raft looks for these words")
	require.NoError(t, s.Set([]byte(KeyLastVoteCand), []byte("x")))
	_, err = s.GetUint64([]byte(KeyLastVoteCand))
	require.ErrorIs(t, err, ErrDamaged)
	require.Error(t, s.StoreLog(&raft.Log{Index: 1, Extensions: []byte("x")}))
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.StoreLog(entry(1, 1)), os.ErrClosed)
}

// Readers leave everything as it is.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	dir := used(t)
	before := files(t, dir)
	s, err := OpenReadOnly(dir, quiet, func(err error) { t.Error(err) })
	require.NoError(t, err)
	require.Error(t, s.StoreLog(entry(121, 4)))
	var l raft.Log
	require.NoError(t, s.GetLog(120, &l))
	require.NoError(t, s.Close())
	var indexes []uint64
	require.NoError(t, Read(dir, quiet, func(l *raft.Log) error { indexes = append(indexes, l.Index); return nil }))
	require.Len(t, indexes, 100)
	found, err := Verify(dir, want, quiet)
	require.NoError(t, err)
	require.Equal(t, Found{Entries: 100, Last: 120, LastTerm: 4, Term: 4}, found)
	require.Equal(t, before, files(t, dir))
}

// A store that a crash left half made is made anew.
func TestHalfMade(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, Folder+newSuffix, "x"), 0o700))
	s := open(t, dir)
	require.NoError(t, s.StoreLog(entry(1, 1)))
	require.NoError(t, s.Close())
	require.NoDirExists(t, filepath.Join(dir, Folder+newSuffix))
}

// A crash while a batch is written leaves the batches before, and no part of this one.
func TestTornEnd(t *testing.T) {
	t.Parallel()
	whole := t.TempDir()
	s := open(t, whole)
	require.NoError(t, s.SetUint64([]byte(KeyCurrentTerm), 1))
	require.NoError(t, s.StoreLogs(entries(1, 10, 1)))
	said, begin := s.marker.mark, writtenTo(t, whole)
	require.NoError(t, s.StoreLogs(entries(11, 30, 1)))
	after := content(t, copied(t, whole)) // as after kill -9
	end := writtenTo(t, whole)
	wal := named(t, whole, "*.log")
	raw, err := os.ReadFile(wal[0])
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.Len(t, after, 31)
	for at := begin; at < end; at += 97 {
		dir := filepath.Join(t.TempDir(), "data")
		require.NoError(t, os.CopyFS(dir, os.DirFS(whole)))
		change(t, filepath.Join(dir, Folder, filepath.Base(wal[0])), func([]byte) []byte {
			return append(append([]byte(nil), raw[:at]...), make([]byte, len(raw)-at)...)
		})
		change(t, filepath.Join(dir, Folder, markFile), func([]byte) []byte { return said.encode() })
		found, err := Verify(dir, Whole{}, quiet)
		require.NoError(t, err, "at %d of %d", at, end)
		require.EqualValues(t, 10, found.Last)
		s := open(t, dir)
		require.NoError(t, s.StoreLog(entry(11, 2)))
		require.NoError(t, s.Close())
		require.NoError(t, os.RemoveAll(dir))
	}
}

// writtenTo is how far the only write-ahead log is written.
func writtenTo(t *testing.T, dir string) int {
	t.Helper()
	wal := named(t, dir, "*.log")
	require.Len(t, wal, 1)
	raw, err := os.ReadFile(wal[0])
	require.NoError(t, err)
	return len(bytes.TrimRight(raw, "\x00"))
}

// The mark is never ahead of what is on the disk, at whichever write a power cut comes.
func TestMarkFollows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	said := func() mark {
		m, err := readMark(filepath.Join(dir, Folder))
		require.NoError(t, err)
		return m
	}
	require.NoError(t, s.SetUint64([]byte(KeyCurrentTerm), 5))
	require.NoError(t, s.StoreLogs(entries(1, 9, 5)))
	require.Equal(t, mark{last: 9, lastTerm: 5, term: 5}, said())
	require.NoError(t, s.DeleteRange(1, 3))
	require.Equal(t, mark{last: 9, lastTerm: 5, term: 5}, said())
	require.NoError(t, s.DeleteRange(7, 9))
	require.Equal(t, mark{last: 6, lastTerm: 5, term: 5}, said())
	require.NoError(t, s.SetUint64([]byte(KeyLastVoteTerm), 6))
	require.NoError(t, s.DeleteRange(4, 6))
	require.Equal(t, mark{term: 5, voteTerm: 6}, said())
	require.NoError(t, s.Close())
	for _, lie := range []mark{{last: 1, lastTerm: 5, term: 5, voteTerm: 6}, {term: 6, voteTerm: 6}, {term: 5, voteTerm: 7}} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, Folder, markFile), lie.encode(), 0o600))
		_, err := Verify(dir, Whole{}, quiet)
		require.ErrorIs(t, err, ErrDamaged, "%v", lie)
	}
}

func FuzzReadEntry(f *testing.F) {
	key, value := make([]byte, 1+indexBytes), make([]byte, headBytes+3)
	putEntry(key, value, &raft.Log{Index: 7, Term: 2, Data: []byte("abc")})
	f.Add(key, value)
	f.Add([]byte("e"), []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		var l raft.Log
		if readEntry(key, value, &l) == nil {
			require.Equal(t, binary.BigEndian.Uint64(key[1:]), l.Index)
			again, as := make([]byte, len(key)), make([]byte, len(value))
			again[0] = kindEntry
			putEntry(again, as, &l)
			if key[0] == kindEntry {
				require.Equal(t, value, as)
			}
		}
	})
}
