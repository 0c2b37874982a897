package failpoint

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLogFails(t *testing.T) {
	t.Parallel()
	for fault, want := range map[LogFault]struct {
		err     error
		written bool
	}{LogBroken: {syscall.EIO, false}, LogUnsynced: {syscall.EIO, true}, LogFull: {syscall.ENOSPC, false}, "nonsense": {errLogFault, false}} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			f, written := Folder(t.TempDir()), false
			do := func() error { written = true; return nil }
			require.NoError(t, f.FailLog("n2", fault))
			require.NoError(t, f.write("n1", do), "another node's log")
			require.True(t, written)
			written = false
			require.ErrorIs(t, f.write("n2", do), want.err)
			require.Equal(t, want.written, written)
			require.NoError(t, f.HealLog("n2"))
			require.NoError(t, f.HealLog("n2"), "it is well")
			require.NoError(t, f.write("n2", do))
		})
	}
}

func TestLogStalls(t *testing.T) {
	t.Parallel()
	f := Folder(t.TempDir())
	require.NoError(t, f.StallLog("n1", 20*time.Millisecond))
	began := time.Now()
	require.NoError(t, f.write("n1", func() error { return nil }))
	require.GreaterOrEqual(t, time.Since(began), 20*time.Millisecond)

	require.NoError(t, f.StallLog("n1", time.Hour))
	var done atomic.Bool
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = f.write("n1", func() error { done.Store(true); return nil })
	}()
	require.Never(t, done.Load, 30*time.Millisecond, time.Millisecond)
	require.NoError(t, f.HealLog("n1"))
	<-over
	require.True(t, done.Load())
}

func TestWordsAreHeld(t *testing.T) {
	t.Parallel()
	f := Folder(t.TempDir())
	f.hand("n1") // nobody holds it
	require.NoError(t, f.HoldWords("n1"))
	f.hand("n2")
	var handed atomic.Bool
	over := make(chan struct{})
	go func() { defer close(over); f.hand("n1"); handed.Store(true) }()
	require.Never(t, handed.Load, 30*time.Millisecond, time.Millisecond)
	require.NoError(t, f.LetGo("n1"))
	<-over
	require.NoError(t, f.LetGo("n1"), "it is not held")
	require.Error(t, Folder(filepath.Join(string(f), "gone")).HoldWords("n1"))
}

func TestClock(t *testing.T) {
	t.Parallel()
	f := Folder(t.TempDir())
	require.Zero(t, f.offset("n1"))
	for _, offset := range []time.Duration{-2 * time.Hour, time.Minute} {
		require.NoError(t, f.SetClock("n1", offset))
		require.Equal(t, offset, f.offset("n1"))
		require.Zero(t, f.offset("n2"))
	}
	require.NoError(t, f.SetClock("n1", 0))
	require.NoError(t, f.SetClock("n1", 0), "it is right")
	require.Zero(t, f.offset("n1"))
	require.NoError(t, os.WriteFile(f.clock("n1"), []byte("noon"), 0o600))
	require.Zero(t, f.offset("n1"))
	for text, want := range map[string]int{"4": 4, "0": 1, "-2": 1, "slow": 1} {
		require.NoError(t, f.tell(f.pace("n1"), text))
		require.Equal(t, want, f.slow("n1"), text)
		require.Equal(t, 1, f.slow("n2"))
	}
	gone := Folder(filepath.Join(string(f), "gone"))
	require.Error(t, gone.SetClock("n1", 1))
	require.Error(t, gone.FailLog("n1", LogFull))
	require.NoError(t, gone.write("n1", func() error { return nil }))
}

// What the tag decides.
func TestWriteAndNow(t *testing.T) {
	f := Folder(t.TempDir())
	t.Setenv(Variable, string(f))
	Here("n1")
	require.NoError(t, f.FailLog("n1", LogFull))
	require.NoError(t, f.SetClock("n1", -time.Hour))
	err, ago := Write(func() error { return nil }), time.Since(Now())
	if Enabled {
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.InDelta(t, time.Hour, ago, float64(time.Minute))
	} else {
		require.NoError(t, err)
		require.Less(t, ago, time.Minute)
	}
	require.False(t, Often())
	require.NoError(t, f.SnapshotOften())
	require.Equal(t, Enabled, Often())
	require.NoError(t, f.HoldWords("n1"))
	handed := make(chan struct{})
	go func() { defer close(handed); Hand() }()
	if Enabled {
		require.Never(t, func() bool { return isClosed(handed) }, 30*time.Millisecond, time.Millisecond)
		require.NoError(t, f.LetGo("n1"))
	}
	<-handed
	require.False(t, Whole())
	require.NoError(t, f.KeepLog())
	require.Equal(t, Enabled, Whole())
	require.NoError(t, f.SlowClock("n1", 3))
	require.Equal(t, Enabled, Slow() == 3)
	t.Setenv(Variable, "")
	Hand()
	require.False(t, Whole())
	require.Equal(t, 1, Slow())
	require.False(t, Often())
	require.NoError(t, Write(func() error { return nil }))
	require.Less(t, time.Since(Now()), time.Minute)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
