package lease

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "made", "lease")
	f := File{Name: name, PodUID: "u", BootID: "b"}
	_, ok, err := f.Load()
	require.NoError(t, err)
	require.False(t, ok)
	deadline := Deadline{time.Minute, time.Unix(7, 0).UTC()}
	require.NoError(t, f.Store(deadline))
	d, ok, err := f.Load()
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, deadline, d)
	for _, other := range []File{{name, "u2", "b"}, {name, "u", "b2"}} {
		_, ok, err = other.Load()
		require.NoError(t, err)
		require.False(t, ok, "of another pod, or before the machine was started")
	}
	require.NoError(t, os.WriteFile(name, []byte("{"), 0o600))
	_, ok, err = f.Load()
	require.NoError(t, err)
	require.False(t, ok)
	id, err := BootID()
	require.NoError(t, err)
	require.Len(t, id, 36)
}

// Others are found in /proc; the first process, ours, and those that ended are not.
func TestShared(t *testing.T) {
	t.Parallel()
	child := exec.CommandContext(t.Context(), "sleep", "1000")
	require.NoError(t, child.Start())
	ended := exec.CommandContext(t.Context(), "true")
	require.NoError(t, ended.Start())
	var found Process
	require.Eventually(t, func() bool {
		others, err := Shared{Proc: "/proc", Self: os.Getpid()}.Others()
		require.NoError(t, err)
		gone := true
		for _, p := range others {
			o, ok := p.(other)
			require.True(t, ok)
			require.NotEqual(t, 1, o.pid)
			require.NotEqual(t, os.Getpid(), o.pid)
			gone = gone && o.pid != ended.Process.Pid
			if o.pid == child.Process.Pid && o.name == "sleep" {
				found = p
			}
		}
		return gone && found != nil
	}, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, ended.Wait())
	require.Contains(t, found.String(), "(sleep)")
	require.NoError(t, found.Terminate())
	err, isExit := child.Wait().(*exec.ExitError) //nolint:errorlint // as Wait returns it
	require.True(t, isExit)
	status, _ := err.Sys().(syscall.WaitStatus)
	require.Equal(t, syscall.SIGTERM, status.Signal())
	require.NoError(t, found.Kill(), "it is gone")
}

func TestSharedNamespaceIsNoneOfTheMachine(t *testing.T) {
	t.Parallel()
	require.ErrorIs(t, Shared{Proc: "/proc", Self: 1}.Check(), ErrNotShared)
	proc := t.TempDir()
	require.NoError(t, os.MkdirAll(proc+"/self/ns", 0o700))
	require.NoError(t, os.Symlink(hostNamespace, proc+"/self/ns/pid"))
	require.ErrorIs(t, Shared{Proc: proc, Self: 7}.Check(), ErrHost)
	require.NoError(t, os.Remove(proc+"/self/ns/pid"))
	require.NoError(t, os.Symlink("pid:[4026532001]", proc+"/self/ns/pid"))
	require.NoError(t, Shared{Proc: proc, Self: 7}.Check())
}
