package credential

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Whatever is wrong with the file, it is not used and not in the way.
func TestDamagedCaches(t *testing.T) {
	t.Parallel()
	tests := map[string]func(t *testing.T, c *Cache){
		"no JSON":      func(t *testing.T, c *Cache) { t.Helper(); put(t, c.path, "{", 0o600) },
		"empty":        func(t *testing.T, c *Cache) { t.Helper(); put(t, c.path, "", 0o600) },
		"other format": func(t *testing.T, c *Cache) { t.Helper(); change(t, c.path, "format", 2) },
		"other user":   func(t *testing.T, c *Cache) { t.Helper(); change(t, c.path, "subject", "bob") },
		"other key":    func(t *testing.T, c *Cache) { t.Helper(); change(t, c.path, "key", issue(t, start, time.Hour).Key) },
		"readable":     func(t *testing.T, c *Cache) { t.Helper(); require.NoError(t, os.Chmod(c.path, 0o640)) },
		"a link": func(t *testing.T, c *Cache) {
			t.Helper()
			require.NoError(t, os.Rename(c.path, c.path+"2"))
			require.NoError(t, os.Symlink(c.path+"2", c.path))
		},
		"a pipe or folder": func(t *testing.T, c *Cache) {
			t.Helper()
			require.NoError(t, os.Remove(c.path))
			require.NoError(t, os.Mkdir(c.path, 0o700))
		},
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			_, _ = b.get(t)
			damage(t, b.Cache)
			_, _ = b.get(t)
			require.Len(t, b.asked, 2)
			if name != "a pipe or folder" {
				_, _ = b.get(t)
				require.Len(t, b.asked, 2, "it was written anew")
			}
		})
	}
}

func put(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), mode))
}

func change(t *testing.T, path, field string, value any) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(text, &fields))
	fields[field] = value
	text, err = json.Marshal(fields)
	require.NoError(t, err)
	put(t, path, string(text), 0o600)
}

func TestFolders(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	require.NoError(t, os.Mkdir(open, 0o700))
	require.NoError(t, os.Chmod(open, 0o755))
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(t.TempDir(), link))
	put(t, filepath.Join(dir, "file"), "", 0o600)
	for _, folder := range []string{open, link, filepath.Join(dir, "file"), filepath.Join(dir, "file", "below")} {
		_, err := OpenCache(folder, "alice")
		require.ErrorIs(t, err, ErrCache, folder)
	}
	cache, err := OpenCache(filepath.Join(dir, "new", "folder"), "alice")
	require.NoError(t, err)
	require.NoError(t, cache.save(record{credential: issue(t, start, time.Hour), Fetched: start}))
	for name, mode := range map[string]os.FileMode{cache.path: 0o600, filepath.Dir(cache.path): 0o700 | os.ModeDir} {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode())
	}
	other, err := OpenCache(filepath.Join(dir, "new", "folder"), "bob")
	require.NoError(t, err)
	require.NotEqual(t, cache.path, other.path)
	week := time.Now().Add(-forgetAfter)
	require.NoError(t, os.Chtimes(cache.path, week, week))
	require.NoError(t, other.save(record{credential: issue(t, start, time.Hour), Fetched: start}))
	require.NoFileExists(t, cache.path, "nobody wrote it for a week")
}

// FuzzCache: whatever the file holds, it is a credential of this subject or nothing.
func FuzzCache(f *testing.F) {
	c := issue(f, start, time.Hour)
	good, err := json.Marshal(record{Format: recordFormat, Subject: "alice", Fetched: start, Certificate: c.Certificate, Key: c.Key})
	require.NoError(f, err)
	f.Add(good)
	f.Add([]byte(`{"format":1,"subject":"alice","certificate":"","key":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		cache, err := OpenCache(filepath.Join(t.TempDir(), "c"), "alice")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(cache.path, text, 0o600))
		if r, ok := cache.load(); ok {
			require.Equal(t, "alice", r.Subject)
			require.NotEmpty(t, r.credential.Key)
		}
	})
}
