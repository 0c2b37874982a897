package local

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// heeding is a launcher of fake nodes that listens to signals until the test ends.
func heeding(t *testing.T, impatience time.Duration, how ...string) (*launcher, chan os.Signal, context.Context, *output) {
	t.Helper()
	v, _ := fakeCluster(t, how...)
	out := new(output)
	l := &launcher{console: &console{out: out}, nodes: v, site: v.site, folder: v.site.folder, impatience: impatience}
	v.ended = l.reportEnd
	v.grace = time.Hour
	require.NoError(t, v.start(t.Context()))
	for i := range how {
		awaitLog(t, v.site, i, "ready", 1)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	signals, over, done := make(chan os.Signal), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		l.heed(ctx, signals, over, cancel)
	}()
	t.Cleanup(func() {
		close(over)
		<-done
		v.kill()
		require.NoError(t, v.close())
		cancel(nil)
	})
	return l, signals, ctx, out
}

func TestFirstSignalAsksAndALaterOneKills(t *testing.T) {
	t.Parallel()
	l, signals, ctx, _ := heeding(t, 0, "stubborn", "polite")
	signals <- os.Interrupt
	<-ctx.Done()
	require.ErrorIs(t, context.Cause(ctx), errInterrupted)
	require.True(t, l.nodes.process(0).running(), "that is for the end of the run")
	signals <- syscall.SIGTERM
	for i := range 2 {
		<-l.nodes.process(i).done
		require.Equal(t, "killed by SIGKILL", l.nodes.process(i).outcome())
	}
}

func TestSignalThatComesTwiceIsOne(t *testing.T) {
	t.Parallel()
	l, signals, ctx, _ := heeding(t, time.Hour, "stubborn")
	signals <- os.Interrupt
	signals <- syscall.SIGTERM
	signals <- syscall.SIGTERM // the one before has been acted upon
	<-ctx.Done()
	require.True(t, l.nodes.process(0).running())
	l.nodes.mu.Lock()
	defer l.nodes.mu.Unlock()
	require.False(t, l.nodes.stopping)
}

func TestHangupStartsAgainWhatHasEnded(t *testing.T) {
	t.Parallel()
	l, signals, ctx, out := heeding(t, time.Hour, "polite", "polite")
	l.written = &ClusterFile{Nodes: make([]ClusterNode, 2)}
	signals <- syscall.SIGHUP
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "no node has ended") }, patience, time.Millisecond)

	old := l.nodes.process(1)
	require.NoError(t, old.signal(syscall.SIGKILL))
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "n2 (PID ") }, patience, time.Millisecond)
	require.Contains(t, out.String(), "has ended: killed by SIGKILL. Start it again: kill -HUP ")
	signals <- syscall.SIGHUP
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "n2 started again") }, patience, time.Millisecond)
	signals <- syscall.SIGHUP // the one before has been acted upon
	file, err := ReadClusterFile(l.folder.path)
	require.NoError(t, err)
	require.Equal(t, l.nodes.process(1).pid(), file.Nodes[1].PID)
	require.NotEqual(t, old.pid(), file.Nodes[1].PID)
	require.NoError(t, ctx.Err())
}

func TestHangupOfTheTerminalIsNoticed(t *testing.T) {
	t.Parallel()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	fd := int(master.Fd())
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	terminal, err := os.OpenFile(filepath.Join("/dev/pts", strconv.FormatUint(uint64(number), 10)), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	defer terminal.Close()
	file, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer file.Close()

	watched := []int{int(terminal.Fd())}
	require.False(t, hungUp(watched))
	require.False(t, hungUp(nil), "without a terminal SIGHUP is a request")
	require.NoError(t, master.Close())
	require.True(t, hungUp(watched))
}

func TestKeystewardIsFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	binary := filepath.Join(dir, "keysteward")
	require.NoError(t, os.WriteFile(binary, []byte("#!/bin/sh\n"), 0o700))
	found, err := findKeysteward(binary)
	require.NoError(t, err)
	require.Equal(t, binary, found)
	require.NoError(t, os.Chmod(binary, 0o600))
	_, err = findKeysteward(binary)
	require.ErrorIs(t, err, ErrBinary, "it can not be run")
	_, err = findKeysteward("")
	require.ErrorIs(t, err, ErrBinary, "there is none beside the test or in PATH")
	require.ErrorContains(t, err, "--keysteward")
}

func TestRunFailsWithoutTracesWhenItsNodesDo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var out bytes.Buffer
	o := free
	o.Dir, o.Nodes, o.Keysteward = dir, 1, "/bin/false"
	err := Run(t.Context(), o, &out, nil)
	require.ErrorIs(t, err, ErrNode)
	require.ErrorContains(t, err, "n1: exit code 1")
	require.Regexp(t, `1 node … +failed`, out.String())
	require.NoFileExists(t, filepath.Join(dir, ClusterFileName))
	f, err := openFolder(dir)
	require.NoError(t, err, "the lock was given up")
	require.NoError(t, f.close())
}
