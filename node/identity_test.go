package node

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func put(t *testing.T, folder, name, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600))
}

// names lists what lies in a folder.
func names(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	set := map[string]bool{}
	for _, e := range entries {
		set[e.Name()] = true
	}
	return slices.Sorted(maps.Keys(set))
}

func TestIDIsMintedOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deep", "data")
	f, err := openFolder(path, "n1")
	require.NoError(t, err)
	require.Regexp(t, `^n1-[0-9a-f]{8}$`, f.nodeID)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	_, err = openFolder(path, "n1")
	require.ErrorIs(t, err, ErrFolderInUse)
	require.NoError(t, f.close())
	again, err := openFolder(path, "n1")
	require.NoError(t, err)
	require.Equal(t, f.nodeID, again.nodeID)
	require.NoError(t, again.close())
	require.Equal(t, []string{lockFile, idFile}, names(t, path))

	other, err := openFolder(t.TempDir(), "n1")
	require.NoError(t, err)
	require.NotEqual(t, f.nodeID, other.nodeID, "two disks, two IDs")
	require.NoError(t, other.close())
}

func TestForeignFolders(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"something else":         {"photo.jpg": "x"},
		"a log without an ID":    {"raft": "x"},
		"another node":           {idFile: "n2-0123abcd\n", "raft": "x"},
		"a longer name":          {idFile: "n1-1-0123abcd\n"},
		"an ID without a suffix": {idFile: "n1\n"},
		"a cut ID":               {idFile: "n1-0123\n"},
		"an empty ID":            {idFile: ""},
		"no hex":                 {idFile: "n1-0123abcz\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := t.TempDir()
			for f, content := range files {
				put(t, path, f, content)
			}
			_, err := openFolder(path, "n1")
			require.ErrorIs(t, err, ErrForeignFolder)
			require.Equal(t, slices.Sorted(maps.Keys(files)), names(t, path), "touched")
		})
	}
}

func TestFoldersThatMayBeUsed(t *testing.T) {
	t.Parallel()
	for name, files := range map[string][]string{
		"new":            nil,
		"a volume":       {"lost+found"},
		"a failed start": {lockFile, idFile + newFile},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := t.TempDir()
			for _, f := range files {
				put(t, path, f, "")
			}
			f, err := openFolder(path, "n1")
			require.NoError(t, err)
			require.NoError(t, f.close())
		})
	}
}

// However many start at once on one folder, there is one ID.
func TestOneIDForManyStarts(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	var ids sync.Map
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 50 {
				f, err := openFolder(path, "n1")
				if err != nil {
					assertThat(t, isAny(err, ErrFolderInUse), err)
					continue
				}
				ids.Store(f.nodeID, true)
				assertThat(t, f.close() == nil, nil)
			}
		})
	}
	all.Wait()
	n := 0
	for range ids.Range {
		n++
	}
	require.Equal(t, 1, n)
}

func TestFolderThatCanNotBe(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	put(t, filepath.Dir(path), "file", "")
	_, err := openFolder(path, "n1")
	require.ErrorContains(t, err, "data folder")
}

func TestConfig(t *testing.T) {
	t.Parallel()
	good := Config{Name: "n1", RaftAdvertise: "127.0.0.1:1", Vault: &fakeVault{}}
	c := good
	require.NoError(t, c.complete())
	require.Equal(t, DefaultHeartbeatTimeout, c.HeartbeatTimeout)
	slow := good
	slow.HeartbeatTimeout = 2 * time.Second
	require.NoError(t, slow.complete())
	require.Equal(t, []time.Duration{2 * time.Second, time.Second}, []time.Duration{slow.ElectionTimeout, slow.LeaseTimeout}, "they follow")
	require.NotNil(t, c.Logger)
	for name, spoil := range map[string]func(*Config){
		"no name":             func(c *Config) { c.Name = "" },
		"name with @":         func(c *Config) { c.Name = "n@1" },
		"name with newline":   func(c *Config) { c.Name = "n1\n" },
		"name with slash":     func(c *Config) { c.Name = "../n" },
		"long name":           func(c *Config) { c.Name = strings.Repeat("n", maxNameBytes+1) },
		"no address":          func(c *Config) { c.RaftAdvertise = "" },
		"no vault":            func(c *Config) { c.Vault = nil },
		"long lease":          func(c *Config) { c.LeaseTimeout = DefaultHeartbeatTimeout/2 + 1 },
		"hasty election":      func(c *Config) { c.ElectionTimeout = DefaultHeartbeatTimeout - 1 },
		"time that runs back": func(c *Config) { c.TickInterval = -1 },
		"negative time-out":   func(c *Config) { c.CommitTimeout = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := good
			spoil(&c)
			require.Error(t, c.complete())
		})
	}
}
