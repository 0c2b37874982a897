package local

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long tests wait for what must happen; they are as quick as it happens.
const patience = time.Minute

// alive tells whether a process exists that is no zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

func requireGone(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool { return !alive(pid) }, patience, 10*time.Millisecond, "process %d is left behind", pid)
}

func testSpawner(t *testing.T) *spawner {
	t.Helper()
	s := newSpawner()
	t.Cleanup(s.close)
	return s
}

// fakeCluster is a supervisor of nodes that do what how says: "polite", "exit 3".
func fakeCluster(t *testing.T, how ...string) (*supervisor, chan *process) {
	t.Helper()
	f := &folder{path: t.TempDir()}
	s := &site{folder: f, ports: freePorts(t, len(how))}
	for i := range how {
		setFake(t, s, i, how[i])
	}
	ended := make(chan *process, 16)
	v := newSupervisor(testSpawner(t), os.Args[0], s, func(p *process) { ended <- p })
	return v, ended
}

func setFake(t *testing.T, s *site, i int, how string) {
	t.Helper()
	folder := s.folder.in(nodeName(i))
	require.NoError(t, os.MkdirAll(folder, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "fake"), []byte(how), 0o600))
}

func awaitLog(t *testing.T, s *site, i int, text string, times int) {
	t.Helper()
	require.Eventually(t, func() bool {
		log, err := os.ReadFile(s.log(i))
		return err == nil && strings.Count(string(log), text) >= times
	}, patience, 5*time.Millisecond)
}

func TestSupervisorStartsWatchesAndRestarts(t *testing.T) {
	t.Parallel()
	v, ended := fakeCluster(t, "polite", "polite", "polite")
	require.NoError(t, v.start(t.Context()))
	first := v.process(1).pid()
	for i := range 3 {
		awaitLog(t, v.site, i, "ready", 1)
		require.True(t, alive(v.process(i).pid()))
	}
	require.NoError(t, v.start(t.Context()), "nothing is left to start")
	require.Equal(t, first, v.process(1).pid())

	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	gone := <-ended
	require.Equal(t, "n2", gone.name)
	require.Equal(t, first, gone.pid())
	require.Equal(t, "killed by SIGKILL", gone.outcome())
	require.Equal(t, 1, v.losses())

	started, err := v.restart(t.Context())
	require.NoError(t, err)
	require.Len(t, started, 1)
	require.NotEqual(t, first, v.process(1).pid())
	awaitLog(t, v.site, 1, "ready", 2)

	require.NoError(t, v.close())
	for i := range 3 {
		require.Equal(t, "exit code 0", v.process(i).outcome())
		requireGone(t, v.process(i).pid())
	}
	require.Equal(t, 1, v.losses(), "what was asked to stop is no loss")
	require.Empty(t, ended)
	started, err = v.restart(t.Context())
	require.NoError(t, err)
	require.Empty(t, started, "nothing starts after the end")
}

func TestSupervisorKillsTheStubborn(t *testing.T) {
	t.Parallel()
	v, _ := fakeCluster(t, "polite", "stubborn")
	v.grace = 50 * time.Millisecond
	require.NoError(t, v.start(t.Context()))
	awaitLog(t, v.site, 0, "ready", 1)
	awaitLog(t, v.site, 1, "ready", 1)
	err := v.close()
	require.ErrorContains(t, err, "n2 did not stop")
	require.Equal(t, "killed by SIGKILL", v.process(1).outcome())
	requireGone(t, v.process(1).pid())
}

func TestSecondSignalKillsAtOnce(t *testing.T) {
	t.Parallel()
	v, _ := fakeCluster(t, "stubborn", "stubborn")
	v.grace = time.Hour
	require.NoError(t, v.start(t.Context()))
	awaitLog(t, v.site, 0, "ready", 1)
	awaitLog(t, v.site, 1, "ready", 1)
	closed := make(chan error, 1)
	go func() { closed <- v.close() }()
	require.Eventually(t, func() bool { v.mu.Lock(); defer v.mu.Unlock(); return v.stopping }, patience, time.Millisecond)
	v.kill()
	require.NoError(t, <-closed)
}

func TestNodeThatEndsIsToldWithItsLog(t *testing.T) {
	t.Parallel()
	v, ended := fakeCluster(t, "exit 3")
	require.NoError(t, v.start(t.Context()))
	err := awaitReady(t.Context(), v)
	require.ErrorIs(t, err, ErrNode)
	require.ErrorContains(t, err, "n1: exit code 3")
	require.ErrorContains(t, err, "the fake exits with 3")
	require.Equal(t, "exit code 3", (<-ended).outcome())
	require.NoError(t, v.close())
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	v, _ := fakeCluster(t, "polite")
	require.NoError(t, v.start(t.Context()))
	why := errors.New("somebody changed his mind")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	require.ErrorIs(t, awaitReady(ctx, v), why)
	require.NoError(t, v.close())
}

func TestCommandRunsToItsEnd(t *testing.T) {
	t.Parallel()
	s := testSpawner(t)
	var out bytes.Buffer
	err := runCommand(t.Context(), s, os.Args[0], []string{"exit", "3"}, &out, &out)
	require.EqualError(t, err, "keysteward exit: exit code 3")
	require.Equal(t, "the fake exits with 3\n", out.String())
	require.ErrorContains(t, runCommand(t.Context(), s, "/no/such/program", []string{"x"}, nil, nil), "start keysteward x")
}

func TestCommandEndsWithItsContext(t *testing.T) {
	t.Parallel()
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	s := testSpawner(t)
	begun := writerFunc(func(p []byte) (int, error) { cancel(why); return len(p), nil })
	require.ErrorIs(t, runCommand(ctx, s, os.Args[0], []string{"polite"}, begun, nil), why)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestChildrenKnowNothingOfOurEnvironment(t *testing.T) {
	t.Setenv("KEYSTEWARD_SERVER", "https://somewhere.else")
	t.Setenv("KEYSTEWARDESS", "stays")
	var out bytes.Buffer
	require.NoError(t, runCommand(t.Context(), testSpawner(t), os.Args[0], []string{"environment"}, &out, nil))
	require.NotContains(t, out.String(), "KEYSTEWARD_")
	require.Contains(t, out.String(), "KEYSTEWARDESS=stays")
	require.Contains(t, out.String(), "PATH=")
}

func TestNothingSurvivesTheParent(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "parent") //nolint:gosec // ourselves
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	child, err := strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err)
	require.True(t, alive(child))
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	requireGone(t, child)
}

func TestChildrenDoNotGetTheTerminalsSignals(t *testing.T) {
	t.Parallel()
	v, _ := fakeCluster(t, "polite")
	require.NoError(t, v.start(t.Context()))
	pid := v.process(0).pid()
	group, err := syscall.Getpgid(pid)
	require.NoError(t, err)
	require.Equal(t, pid, group)
	require.NoError(t, v.close())
}

func TestSpawnerOutlivesManyThreads(t *testing.T) {
	t.Parallel()
	s := testSpawner(t)
	var failed atomic.Int32
	done := make(chan struct{})
	for range 8 {
		go func() {
			if runCommand(t.Context(), s, os.Args[0], []string{"exit", "0"}, nil, nil) != nil {
				failed.Add(1)
			}
			done <- struct{}{}
		}()
	}
	for range 8 {
		<-done
	}
	require.Zero(t, failed.Load())
}
