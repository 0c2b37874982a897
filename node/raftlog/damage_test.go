package raftlog

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestDamageIsFound(t *testing.T) {
	t.Parallel()
	whole := used(t)
	inAll := func(old, changed string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			paths := with(t, dir, old)
			require.NotEmpty(t, paths)
			for _, path := range paths {
				change(t, path, func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(old), []byte(changed)) })
			}
		}
	}
	each := func(pattern string, how func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			for _, path := range named(t, dir, pattern) {
				change(t, path, how)
			}
		}
	}
	gone := func(pattern string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			for _, path := range named(t, dir, pattern) {
				require.NoError(t, os.Remove(path))
			}
		}
	}
	half := func(b []byte) []byte { return b[:len(b)/2] }
	written := func(change func(s *Store) error) func(*testing.T, string) { // as if the store did it
		return func(t *testing.T, dir string) {
			t.Helper()
			db, err := openStore(filepath.Join(dir, Folder), false, quiet, func(error) {})
			require.NoError(t, err)
			require.NoError(t, change(&Store{db: db}))
			require.NoError(t, db.Close())
		}
	}
	for name, tc := range map[string]struct {
		damage func(*testing.T, string)
		say    string
	}{
		"bits of an entry in the tables":                {inAll("entry-50-3 entry-50-3", "entry-50-3 entry-51-3"), ""},
		"bits of an entry in the write-ahead log":       {inAll("entry-100-4 entry-100-4", "entry-100-4 entry-101-4"), ""},
		"bits of the newest entry":                      {inAll("entry-120-4 entry-120-4", "entry-120-4 entry-121-4"), "entry 120 of term 4 was written"},
		"name of the term":                              {inAll(KeyCurrentTerm, "CurrentTerN"), ""},
		"write-ahead log cut":                           {each("*.log", half), ""},
		"write-ahead log empty":                         {each("*.log", func([]byte) []byte { return nil }), "was written"},
		"write-ahead log gone":                          {gone("*.log"), "was written"},
		"tables cut":                                    {each("*.sst", half), ""},
		"tables gone":                                   {gone("*.sst"), ""},
		"MANIFEST gone":                                 {gone("MANIFEST-*"), ""},
		"marker of the MANIFEST gone":                   {gone("marker.manifest.*"), ""},
		"marker of the format gone":                     {gone("marker.format-version.*"), ""},
		"mark gone":                                     {gone(markFile), "MARK is gone"},
		"mark damaged":                                  {each(markFile, func(b []byte) []byte { b[20] ^= 1; return b }), "MARK does not match"},
		"an entry gone that the snapshot does not have": {written(func(s *Store) error { return s.db.Delete(entryKey(60), nil) }), "entries 41 to 60 are gone"},
		"an entry under the index of another": {written(func(s *Store) error {
			v, c, err := s.db.Get(entryKey(60))
			if err != nil {
				return err
			}
			return firstOf(s.db.Set(entryKey(61), v, nil), c.Close())
		}), "entry 61 does not match its checksum"},
		"an end gone":    {written(func(s *Store) error { return s.db.DeleteRange(entryKey(119), entryKey(200), nil) }), "entry 120 of term 4 was written"},
		"a short entry":  {written(func(s *Store) error { return s.db.Set(entryKey(121), []byte("x"), nil) }), "entry 121 has 1 bytes"},
		"an odd key":     {written(func(s *Store) error { return s.db.Set([]byte("e12"), []byte("x"), nil) }), "has the key"},
		"an unknown key": {written(func(s *Store) error { return s.db.Set([]byte("x"), nil, nil) }), "there is a key"},
		"an odd value": {written(func(s *Store) error {
			return s.db.Set(valueKey([]byte("odd")), sealValue([]byte("odd"), nil), nil)
		}), "a value of \"odd\""},
		"a value without its checksum": {written(func(s *Store) error { return s.db.Set(valueKey([]byte(KeyLastVoteCand)), []byte("10.0.0.2:1"), nil) }), "LastVoteCand does not match"},
		"the term gone":                {written(func(s *Store) error { return s.db.Delete(valueKey([]byte(KeyCurrentTerm)), nil) }), "forgot how it voted"},
		"the vote's term gone":         {written(func(s *Store) error { return s.db.Delete(valueKey([]byte(KeyLastVoteTerm)), nil) }), "voted in term 4"},
		"of another node": {written(func(s *Store) error {
			return s.db.Set(valueKey([]byte(KeyNodeID)), sealValue([]byte(KeyNodeID), []byte("n2")), nil)
		}), "of the node n2"},
		"an older term in a newer entry": {written(func(s *Store) error {
			key, value := make([]byte, 1+indexBytes), make([]byte, headBytes)
			putEntry(key, value, entry(70, 2))
			_ = key
			b := s.db.NewBatch()
			l := entry(70, 2)
			op := b.SetDeferred(1+indexBytes, headBytes+len(l.Data))
			putEntry(op.Key, op.Value, l)
			return firstOf(op.Finish(), b.Commit(nil))
		}), "the one before of term"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := copied(t, whole)
			tc.damage(t, dir)
			before := files(t, dir)
			_, err := Verify(dir, want, quiet)
			require.ErrorIs(t, err, ErrDamaged)
			require.ErrorContains(t, err, tc.say)
			require.Equal(t, before, files(t, dir), "the folder was changed")
		})
	}
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// What the newest snapshot has in it may be damaged, for one who says so.
func TestForgiven(t *testing.T) {
	t.Parallel()
	dir := used(t)
	s := open(t, dir)
	require.NoError(t, s.db.Set(entryKey(30), []byte("garbage"), nil))
	require.NoError(t, s.db.Set(entryKey(40), []byte("garbage"), nil))
	require.NoError(t, s.Close())
	_, err := Verify(dir, want, quiet)
	require.ErrorIs(t, err, ErrDamaged)
	var forgiven []uint64
	asked := want
	asked.Forgive = func(index uint64, err error) {
		require.ErrorIs(t, err, ErrDamaged)
		forgiven = append(forgiven, index)
	}
	_, err = Verify(dir, asked, quiet)
	require.NoError(t, err)
	require.Equal(t, []uint64{30, 40}, forgiven)
	s = open(t, dir)
	require.NoError(t, s.db.Set(entryKey(41), []byte("garbage"), nil))
	require.NoError(t, s.Close())
	_, err = Verify(dir, asked, quiet)
	require.ErrorIs(t, err, ErrDamaged)
}

// Whichever bit of whichever file flips, wherever a file is cut: it is found, or all is
// read as it was.
func TestNoDamagePasses(t *testing.T) {
	t.Parallel()
	whole := used(t)
	before := content(t, whole)
	root := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(root, "data") //nolint:usetesting // one for each draw
		require.NoError(t, err)
		defer func() { require.NoError(t, os.RemoveAll(dir)) }()
		require.NoError(t, os.CopyFS(filepath.Join(dir, Folder), os.DirFS(filepath.Join(whole, Folder))))
		path := rapid.SampledFrom(named(t, dir, "*")).Draw(t, "path")
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		if len(b) == 0 {
			return
		}
		end := len(bytes.TrimRight(b, "\x00"))
		if rapid.Bool().Draw(t, "cut") {
			b = b[:rapid.IntRange(0, end).Draw(t, "at")]
		} else {
			b[rapid.IntRange(0, max(end-1, 0)).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		require.NoError(t, os.WriteFile(path, b, 0o600))
		if _, err := Verify(dir, want, quiet); err == nil {
			require.Equal(t, before, content(t, dir), "%s", filepath.Base(path))
		}
	})
}
