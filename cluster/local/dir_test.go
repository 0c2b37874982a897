package local

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFolderIsMadeAndFoundAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deep", "folder")
	f, err := openFolder(path)
	require.NoError(t, err)
	require.True(t, f.fresh)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	want := memory{Nodes: 2, Ports: ports{API: []int{1, 2}, Raft: []int{3, 4}, Chain: 5}}
	require.NoError(t, f.remember(want))
	require.NoError(t, f.close())

	again, err := openFolder(path)
	require.NoError(t, err)
	require.False(t, again.fresh)
	want.Version = memoryVersion
	require.Equal(t, want, again.memory)
	require.NoError(t, again.close())
}

func TestEmptyFolderIsRestricted(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	require.NoError(t, os.Chmod(path, 0o755))
	f, err := openFolder(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.close()) })
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

func TestForeignFolderIsRefusedUntouched(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"somebody's files": {"thesis.txt": "chapter one"},
		"broken memory":    {memoryFile: "{"},
		"newer memory":     {memoryFile: `{"version":2,"nodes":1}`},
		"torn memory":      {memoryFile: `{"version":1,"nodes":3,"ports":{"api":[1],"raft":[2]}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := t.TempDir()
			for file, content := range files {
				require.NoError(t, os.WriteFile(filepath.Join(path, file), []byte(content), 0o644))
			}
			require.NoError(t, os.Chmod(path, 0o755))
			_, err := openFolder(path)
			require.ErrorIs(t, err, ErrForeignDir)
			require.ErrorContains(t, err, path)

			entries, err := os.ReadDir(path)
			require.NoError(t, err)
			require.Len(t, entries, len(files), "nothing was added")
			for file, content := range files {
				have, err := os.ReadFile(filepath.Join(path, file))
				require.NoError(t, err)
				require.Equal(t, content, string(have))
			}
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o755), info.Mode().Perm())
		})
	}
}

func TestFolderHasOneLauncher(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	f, err := openFolder(path)
	require.NoError(t, err)
	_, err = openFolder(path)
	require.ErrorIs(t, err, ErrDirInUse)
	require.NoError(t, f.close())
	f, err = openFolder(path)
	require.NoError(t, err, "a lock that was given up can be taken")
	require.NoError(t, f.close())
}

func TestStartThatWasKilledLeavesAFolderThatIsOurs(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(path, lockFile), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(path, memoryFile+".new"), []byte(`{"ver`), 0o600))
	f, err := openFolder(path)
	require.NoError(t, err)
	require.True(t, f.fresh)
	require.NoError(t, f.remember(memory{}))
	require.NoError(t, f.close())
}

func TestNumberOfNodes(t *testing.T) {
	t.Parallel()
	fresh, used := &folder{fresh: true}, &folder{memory: memory{Nodes: 5}}
	for name, c := range map[string]struct {
		folder       *folder
		wanted, have int
		fails        bool
	}{
		"default":            {folder: fresh, have: DefaultNodes},
		"chosen":             {folder: fresh, wanted: 4, have: 4},
		"as before":          {folder: used, have: 5},
		"the same once more": {folder: used, wanted: 5, have: 5},
		"another":            {folder: used, wanted: 3, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			have, err := c.folder.nodes(c.wanted)
			if c.fails {
				require.ErrorIs(t, err, ErrUsage)
				require.ErrorContains(t, err, "was made with 5")
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.have, have)
		})
	}
}
