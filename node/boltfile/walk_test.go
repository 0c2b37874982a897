package boltfile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/keysteward/keysteward/node/boltfile"
)

// made is a file of so many keys in the bucket a, with values of so many bytes, and one
// key in the bucket b.
func made(t testing.TB, keys, size int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	require.NoError(t, err)
	for from := 0; from <= keys; from += 500 {
		require.NoError(t, db.Update(func(tx *bbolt.Tx) error {
			a, err := tx.CreateBucketIfNotExists([]byte("a"))
			require.NoError(t, err)
			for i := from; i < min(from+500, keys); i++ {
				require.NoError(t, a.Put(binary.BigEndian.AppendUint32(nil, uint32(i)), bytes.Repeat([]byte{byte(i)}, size)))
			}
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			require.NoError(t, err)
			return b.Put([]byte("key"), []byte("value"))
		}))
	}
	require.NoError(t, db.Close())
	return path
}

func TestWalkReadsWhatBoltWrote(t *testing.T) {
	t.Parallel()
	for _, size := range []struct{ keys, bytes int }{{0, 0}, {1, 1}, {3, 10}, {2000, 100}, {20, 20_000}, {5000, 3}} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			next, others := 0, 0
			require.NoError(t, boltfile.Walk(made(t, size.keys, size.bytes), func(bucket string, key, value []byte) error {
				if bucket == "b" {
					others++
					require.Equal(t, "value", string(value))
					return nil
				}
				require.Equal(t, uint32(next), binary.BigEndian.Uint32(key))
				require.Equal(t, bytes.Repeat([]byte{byte(next)}, size.bytes), append([]byte{}, value...))
				next++
				return nil
			}))
			require.Equal(t, size.keys, next)
			require.Equal(t, 1, others)
		})
	}
}

func TestWalkStopsWithTheVisitor(t *testing.T) {
	t.Parallel()
	enough := errors.New("enough")
	require.ErrorIs(t, boltfile.Walk(made(t, 10, 10), func(string, []byte, []byte) error { return enough }), enough)
}

func TestNoFile(t *testing.T) {
	t.Parallel()
	none := func(string, []byte, []byte) error { return nil }
	require.ErrorIs(t, boltfile.Walk(filepath.Join(t.TempDir(), "db"), none), os.ErrNotExist)
	empty := filepath.Join(t.TempDir(), "db")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	require.NoError(t, boltfile.Walk(empty, none))
	require.NoError(t, os.WriteFile(empty, []byte("text"), 0o600))
	require.ErrorIs(t, boltfile.Walk(empty, none), boltfile.ErrDamaged)
}

// A branch that leads back to where it comes from must not be followed for ever.
func TestCircle(t *testing.T) {
	t.Parallel()
	path := made(t, 2000, 100)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	circles := 0
	for page := 2 * 4096; page+4096 <= len(b); page += 4096 {
		if binary.LittleEndian.Uint16(b[page+8:]) != 1 {
			continue // no branch
		}
		damaged := bytes.Clone(b)
		copy(damaged[page+16+8:page+16+16], damaged[page:page+8])
		require.NoError(t, os.WriteFile(path, damaged, 0o600))
		if boltfile.Walk(path, func(string, []byte, []byte) error { return nil }) != nil {
			circles++
		}
	}
	require.Positive(t, circles)
}

// Both meta pages are whole, and one is not the one before the other: it was not written.
func TestMetaOfAnotherTime(t *testing.T) {
	t.Parallel()
	path := made(t, 10, 10)
	old, err := os.ReadFile(path)
	require.NoError(t, err)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true})
	require.NoError(t, err)
	for range 4 {
		require.NoError(t, db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("b")).Put([]byte("key"), []byte("new")) }))
	}
	require.NoError(t, db.Close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	copy(b[:4096], old[:4096])
	require.NoError(t, os.WriteFile(path, b, 0o600))
	require.ErrorIs(t, boltfile.Walk(path, func(string, []byte, []byte) error { return nil }), boltfile.ErrDamaged)
}

func FuzzWalk(f *testing.F) {
	small, err := os.ReadFile(made(f, 3, 10))
	require.NoError(f, err)
	large, err := os.ReadFile(made(f, 300, 100))
	require.NoError(f, err)
	for at := range 40 {
		f.Add(false, uint32(at*409), []byte{0xff, 0xff})
		f.Add(true, uint32(at*1777), []byte{1, 0, 0, 0})
	}
	f.Fuzz(func(t *testing.T, big bool, at uint32, patch []byte) {
		b := bytes.Clone(small)
		if big {
			b = bytes.Clone(large)
		}
		copy(b[int(at)%len(b):], patch)
		path := filepath.Join(t.TempDir(), "db")
		require.NoError(t, os.WriteFile(path, b, 0o600))
		keys := 0
		err := boltfile.Walk(path, func(string, []byte, []byte) error { keys++; return nil })
		if err != nil {
			require.ErrorIs(t, err, boltfile.ErrDamaged)
		}
		require.LessOrEqual(t, keys, len(b)/16)
	})
}
