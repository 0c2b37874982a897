package schedule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/backup"
)

// wait lets the clock of the bubble run, and everything settle.
func wait(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
	synctest.Wait()
}

func TestBackupsAreMadeAndKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, registry := newMemory(), prometheus.NewRegistry()
		s, stop := run(t, Config{Store: m, Every: time.Hour, Keep: 3, Metrics: registry}, "c1")
		defer stop()
		wait(time.Second)
		require.Len(t, m.names("c1"), 1, "the first one at once")
		first := m.names("c1")[0]
		for i := range 5 {
			wait(time.Hour)
			require.Len(t, m.names("c1"), min(i+2, 3))
		}
		require.NotContains(t, m.names("c1"), first)
		st := s.Status()
		require.Equal(t, m.names("c1")[0], st.Last.Name)
		require.Positive(t, st.Last.Bytes)
		require.InDelta(t, time.Hour.Seconds(), st.Next.Sub(st.Last.MadeAt).Seconds(), 2)
		require.InDelta(t, float64(st.Last.MadeAt.Unix()), testutil.ToFloat64(s.metrics.last), 0)
		require.InDelta(t, float64(st.Last.Bytes), testutil.ToFloat64(s.metrics.size), 0)
	})
}

// Another leader goes on where the last one was.
func TestAnotherLeaderGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		_, stop := run(t, Config{Store: m, Every: time.Hour}, "c1")
		wait(time.Second)
		stop()
		wait(10 * time.Minute)
		s, stop := run(t, Config{Store: m, Every: time.Hour}, "c1")
		defer stop()
		wait(time.Second)
		require.Len(t, m.names("c1"), 1, "it is not due yet")
		require.Equal(t, m.names("c1")[0], s.Status().Last.Name)
		wait(49 * time.Minute)
		require.Len(t, m.names("c1"), 1)
		wait(2 * time.Minute)
		require.Len(t, m.names("c1"), 2)
	})
}

// Only what is of this cluster is counted and removed.
func TestOthersFilesAreLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		other := made(t, "c2", time.Now()).Manifest.Name()
		m.files[other], m.files["notes.txt"], m.files["keysteward-c1-x"] = []byte{1}, []byte{2}, []byte{3}
		_, stop := run(t, Config{Store: m, Every: time.Hour, Keep: 1}, "c1")
		defer stop()
		wait(5*time.Hour + time.Second)
		require.Len(t, m.names("c1"), 1)
		for _, name := range []string{other, "notes.txt", "keysteward-c1-x"} {
			require.Contains(t, m.files, name)
		}
	})
}

// A rehearsal has the ID of the cluster whose backup it was made of. Its backups neither
// pass for those of the real one, nor push them out, nor the other way round.
func TestRehearsalInTheSamePlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		genuine := made(t, "c1", time.Now()).Manifest
		rehearsal := genuine
		rehearsal.MadeAt, rehearsal.History = time.Now().Add(time.Minute).UTC(), backup.HistoryOf("some restore")
		m.files[genuine.Name()], m.files[rehearsal.Name()] = []byte{1}, []byte{2}
		require.Equal(t, []string{rehearsal.Name()}, m.names(backup.Lineage("c1", rehearsal.History)))
		wait(30 * time.Minute)
		s, stop := run(t, Config{Store: m, Every: 20 * time.Minute, Keep: 1}, "c1")
		defer stop()
		wait(time.Second)
		require.Contains(t, m.names("c1"), s.Status().Last.Name)
		require.NotContains(t, m.files, genuine.Name(), "its own is removed")
		require.Contains(t, m.files, rehearsal.Name(), "the rehearsal's is left alone")
	})
}

// The other way round: what was restored from the real cluster's backup leaves its alone.
func TestRehearsalRemovesOnlyItsOwn(t *testing.T) {
	t.Parallel()
	rehearsed := restoredFrom(t, stateOf(t, "c1"), "some restore")
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		genuine := made(t, "c1", time.Now()).Manifest
		m.files[genuine.Name()] = []byte{1}
		wait(30 * time.Minute)
		s, stop := runOn(t, Config{Store: m, Every: 20 * time.Minute, Keep: 1}, rehearsed)
		defer stop()
		wait(time.Hour)
		require.Contains(t, m.files, genuine.Name(), "the real cluster's is left alone")
		require.Equal(t, []string{s.Status().Last.Name}, m.names(backup.Lineage("c1", backup.HistoryOf("some restore"))))
	})
}

// A file of the future, of a clock that was wrong, does not stop backups, and does not
// push the new ones out.
func TestFileOfTheFuture(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		future := made(t, "c1", time.Now().Add(1000*time.Hour)).Manifest.Name()
		m.files[future] = []byte{1}
		s, stop := run(t, Config{Store: m, Every: time.Hour, Keep: 1}, "c1")
		defer stop()
		for range 4 {
			wait(time.Hour)
			require.Contains(t, m.files, s.Status().Last.Name)
			require.NotEqual(t, future, s.Status().Last.Name)
			require.LessOrEqual(t, len(m.names("c1")), 2)
		}
	})
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		trouble func(m *memory, v *testVault)
		reason  string
	}{
		"no folder": {func(m *memory, _ *testVault) { m.onList = func() error { return ErrMissing } }, ReasonMissing},
		"no room":   {func(m *memory, _ *testVault) { m.onPut = func() error { return fmt.Errorf("%w: x", ErrFull) } }, ReasonFull},
		"away":      {func(m *memory, _ *testVault) { m.onPut = func() error { return ErrAway } }, ReasonAway},
		"other":     {func(m *memory, _ *testVault) { m.onPut = func() error { return errTest } }, ReasonOther},
		"cut off":   {func(m *memory, _ *testVault) { m.spoil = func(b []byte) []byte { return b[:len(b)-9] } }, ReasonUnlike},
		"altered":   {func(m *memory, _ *testVault) { m.spoil = func(b []byte) []byte { b[len(b)/2] ^= 1; return b } }, ReasonUnlike},
		"empty":     {func(m *memory, _ *testVault) { m.spoil = func([]byte) []byte { return nil } }, ReasonUnlike},
		"altered for good": {func(m *memory, _ *testVault) {
			m.spoil = func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
			m.onRemove = func() error { return ErrDenied } // so it stays, and must not pass for a backup
		}, ReasonDenied},
		"sealed":     {func(_ *memory, v *testVault) { v.err = node.ErrSealed }, ReasonSealed},
		"no keyring": {func(_ *memory, v *testVault) { v.err = fmt.Errorf("%w: none yet", node.ErrSealed) }, ReasonSealed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, v := newMemory(), &testVault{}
				old := made(t, "c1", time.Now().Add(-3*time.Hour))
				m.files[old.Manifest.Name()] = []byte("old")
				c.trouble(m, v)
				s, stop := run(t, Config{Store: m, Every: time.Hour, Keep: 1, Make: maker(v).Prepare}, "c1")
				defer stop()
				wait(20 * time.Second)
				st := s.Status()
				require.Equal(t, 1, st.Failures)
				require.Equal(t, c.reason, st.Code)
				require.NotEmpty(t, st.Detail)
				require.Contains(t, m.files, old.Manifest.Name(), "nothing is removed for a backup that failed")
				require.InDelta(t, 1, testutil.ToFloat64(s.metrics.failures.WithLabelValues(c.reason)), 0)
				m.set(func() { m.onList, m.onPut, m.spoil, m.onRemove = nil, nil, nil, nil })
				v.set(nil)
				wait(time.Minute)
				st = s.Status()
				require.Zero(t, st.Failures)
				require.Empty(t, st.Code)
				require.Positive(t, st.Last.Bytes)
				_, _, err := backup.Verify(bytes.NewReader(m.files[st.Last.Name]), nil)
				require.NoError(t, err, "what counts is whole")
			})
		})
	}
}

// A leadership that ends while a file is read back leaves no file that nobody has proven:
// the next leader would take it for the newest backup.
func TestNothingUnprovenIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		s, err := New(Config{Store: m, Every: time.Hour, Make: maker(&testVault{}).Prepare})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		m.onPut = func() error { cancel(); return nil }
		_, err = s.step(ctx, stateOf(t, "c1"))
		require.ErrorIs(t, err, context.Canceled)
		require.Empty(t, m.files)
	})
}

// A cluster that was founded just now has no keyring yet, which is no failure.
func TestNothingToKeepYet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		s, err := New(Config{Store: m, Every: time.Hour, Make: maker(&testVault{}).Prepare})
		require.NoError(t, err)
		due, err := s.step(t.Context(), fsm.New().View())
		require.NoError(t, err)
		require.Less(t, time.Until(due), time.Minute)
		require.Empty(t, m.files)
	})
}

// It is tried again more and more rarely, and at least twice an hour.
func TestRetries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		var tries atomic.Int64
		m.onPut = func() error { tries.Add(1); return ErrAway }
		s, stop := run(t, Config{Store: m, Every: 24 * time.Hour}, "c1")
		defer stop()
		wait(time.Minute)
		require.Equal(t, int64(2), tries.Load())
		wait(24 * time.Hour)
		require.InDelta(t, 54, tries.Load(), 3)
		require.Equal(t, int(tries.Load()), s.Status().Failures)
	})
}

// What can not be removed is told, and the backup counts all the same.
func TestOldOnesThatStay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.onRemove = func() error { return ErrDenied }
		s, stop := run(t, Config{Store: m, Every: time.Hour, Keep: 1}, "c1")
		defer stop()
		wait(3*time.Hour + time.Second)
		require.Len(t, m.names("c1"), 4)
		require.Zero(t, s.Status().Failures)
		require.InDelta(t, 3, testutil.ToFloat64(s.metrics.failures.WithLabelValues(ReasonDenied)), 0)
	})
}

// A place that hangs, whatever it is told, keeps no session from ending.
func TestHangingPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.hang = make(chan struct{})
		s, err := New(Config{Store: m, Every: time.Hour, Make: maker(&testVault{}).Prepare})
		require.NoError(t, err)
		view := stateOf(t, "c1")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		session, end := context.WithCancel(t.Context())
		led := make(chan error, 1)
		go func() { led <- s.lead(session, func() *fsm.View { return view }) }()
		wait(time.Second)
		end()
		synctest.Wait()
		require.ErrorIs(t, <-led, context.Canceled)
		again, end := context.WithCancel(t.Context())
		go func() { led <- s.lead(again, func() *fsm.View { return view }) }()
		wait(time.Second)
		close(m.hang)
		wait(time.Second)
		require.Len(t, m.names("c1"), 1, "and the next leadership works")
		end()
		cancel()
		require.NoError(t, <-ended)
		require.Error(t, <-led)
	})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	good := Config{Store: newMemory(), Every: MinEvery, Make: maker(&testVault{}).Prepare}
	_, err := New(good)
	require.NoError(t, err)
	for name, spoil := range map[string]func(*Config){
		"no store": func(c *Config) { c.Store = nil }, "no maker": func(c *Config) { c.Make = nil },
		"too often": func(c *Config) { c.Every = MinEvery - 1 }, "keep": func(c *Config) { c.Keep = -1 },
	} {
		bad := good
		spoil(&bad)
		_, err := New(bad)
		require.ErrorIs(t, err, ErrConfig, name)
	}
}

func TestReasons(t *testing.T) {
	t.Parallel()
	require.Equal(t, ReasonUnlike, reasonOf(fmt.Errorf("x: %w", backup.ErrTruncated)))
	require.Equal(t, ReasonOther, reasonOf(errors.New("x")))
	for _, code := range reasons {
		require.NotEmpty(t, code)
	}
}
