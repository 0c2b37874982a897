package failpoint

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const patience = 10 * time.Second

func caught(t *testing.T, f Folder, n Name) int {
	t.Helper()
	pid, err := f.Caught(n)
	require.NoError(t, err)
	return pid
}

func TestArmedPointCatchesOne(t *testing.T) {
	t.Parallel()
	f := Folder(t.TempDir())
	f.reach("a") // nothing is armed
	require.Zero(t, caught(t, f, "a"))
	require.NoError(t, f.Arm("a"))
	require.NoError(t, f.Arm("ab"), "another one, with a name that begins alike")

	const comers = 8
	var passed atomic.Int32
	var all sync.WaitGroup
	for range comers {
		all.Go(func() {
			f.reach("a")
			passed.Add(1)
		})
	}
	require.Eventually(t, func() bool { return passed.Load() == comers-1 }, patience, time.Millisecond, "all but one go on")
	require.Equal(t, os.Getpid(), caught(t, f, "a"))
	require.Zero(t, caught(t, f, "ab"))
	f.reach("a") // it is armed once
	require.Equal(t, int32(comers-1), passed.Load(), "and that one is held")

	require.NoError(t, f.Release("a"))
	all.Wait()
	require.Zero(t, caught(t, f, "a"))
	require.NoError(t, f.Release("a"), "there is nothing to release")
	require.FileExists(t, f.armed("ab"))
}

func TestReleaseDisarms(t *testing.T) {
	t.Parallel()
	f := Folder(t.TempDir())
	require.NoError(t, f.Arm("a"))
	require.NoError(t, f.Release("a"))
	f.reach("a")
	require.Zero(t, caught(t, f, "a"))
}

// A test that went away with its folder holds nobody.
func TestFolderIsGone(t *testing.T) {
	t.Parallel()
	f := Folder(filepath.Join(t.TempDir(), "folder"))
	require.NoError(t, os.Mkdir(string(f), 0o700))
	require.NoError(t, f.Arm("a"))
	done := make(chan struct{})
	go func() { defer close(done); f.reach("a") }()
	require.Eventually(t, func() bool { return caught(t, f, "a") != 0 }, patience, time.Millisecond)
	require.NoError(t, os.RemoveAll(string(f)))
	<-done
	f.reach("a")
	_, err := f.Caught("a")
	require.Error(t, err)
	require.Error(t, f.Arm("a"))
}

// What the tag decides.
func TestReach(t *testing.T) {
	f := Folder(t.TempDir())
	t.Setenv(Variable, string(f))
	require.NoError(t, f.Arm("a"))
	done := make(chan struct{})
	go func() { defer close(done); Reach("a") }()
	if Enabled {
		require.Eventually(t, func() bool { return caught(t, f, "a") == os.Getpid() }, patience, time.Millisecond)
		require.NoError(t, f.Release("a"))
	}
	<-done
	if !Enabled {
		require.FileExists(t, f.armed("a"))
	}
}

func TestReachWithoutAFolder(t *testing.T) {
	t.Setenv(Variable, "")
	Reach("a")
}
