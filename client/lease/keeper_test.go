package lease

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// pod is a pod whose validator is started anew a second after it was killed.
type pod struct {
	t     *testing.T
	began time.Time

	mu       sync.Mutex
	answer   func() (time.Duration, error)
	takes    time.Duration // for a renewal to be answered
	lastGood time.Duration // when the last renewal that was answered well was sent
	killed   time.Duration
	asked    int
	memory   map[string]time.Duration
	runs     bool
	log      bytes.Buffer
}

func newPod(t *testing.T) *pod {
	t.Helper()
	return &pod{
		t: t, began: time.Now(), runs: true, memory: map[string]time.Duration{},
		answer: func() (time.Duration, error) { return 5 * time.Minute, nil },
	}
}

func (p *pod) clock() time.Duration { return time.Hour + time.Since(p.began) }

func (p *pod) answers(f func() (time.Duration, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = f
}

func (p *pod) renew(context.Context) (time.Duration, error) {
	p.mu.Lock()
	sent, f, takes := p.clock(), p.answer, p.takes
	p.mu.Unlock()
	pass(takes)
	d, err := f()
	if err == nil {
		p.mu.Lock()
		p.lastGood = sent
		p.mu.Unlock()
	}
	return d, err
}

// Load and Store make it a [Memory].
func (p *pod) Load() (time.Duration, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d, ok := p.memory["deadline"]
	return d, ok, nil
}

func (p *pod) Store(d time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.memory["deadline"] = d
	return nil
}

func (p *pod) Terminate() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	return nil
}

func (p *pod) Kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.runs, p.killed = false, p.clock()
	time.AfterFunc(time.Second, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.runs = true
	})
	return nil
}

func (p *pod) String() string { return "validator" }

func (p *pod) others() ([]Process, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.runs {
		return nil, nil
	}
	return []Process{p}, nil
}

func (p *pod) isKilled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.killed > 0
}

// keep runs a keeper until the function that it returns is called.
func (p *pod) keep() (k *Keeper, stop func()) {
	p.t.Helper()
	k, err := New(Config{
		Renew: p.renew, Clock: p.clock, Others: p.others, Memory: p, Grace: 10 * time.Second,
		Logger: slog.New(slog.NewTextHandler(&p.log, nil)),
	})
	require.NoError(p.t, err)
	ctx, cancel := context.WithCancel(p.t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	return k, func() {
		cancel()
		require.ErrorIs(p.t, <-done, context.Canceled)
	}
}

var errAway = errors.New("no server answers")

// pass lets fake time pass.
func pass(d time.Duration) { <-time.After(d) }

func away() (time.Duration, error) { return 0, errAway }

func TestLeaseIsKeptWhileItIsRenewed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		k, stop := p.keep()
		pass(time.Hour)
		state, left, _ := k.Status()
		require.Equal(t, Held, state)
		require.Greater(t, left, 100*time.Second)
		stop()
		require.False(t, p.isKilled() && p.killed > time.Hour+time.Second, "only what ran before the first renewal")
	})
}

// What was promised: nothing runs once half of the lease is over, counted from before
// the last good renewal was sent.
func TestNothingRunsAfterHalfOfALease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		p.takes = 3 * time.Second
		k, stop := p.keep()
		defer stop()
		pass(10 * time.Minute)
		p.mu.Lock()
		p.killed = 0
		p.mu.Unlock()
		p.answers(away)
		for !p.isKilled() {
			pass(10 * time.Millisecond)
		}
		p.mu.Lock()
		since := p.killed - p.lastGood
		require.LessOrEqual(t, since, 150*time.Second+guardEvery+10*time.Millisecond)
		require.GreaterOrEqual(t, since, 150*time.Second)
		require.Equal(t, 1, p.asked, "it was asked to end before")
		p.killed = 0
		p.mu.Unlock()
		state, _, detail := k.Status()
		require.Equal(t, Over, state)
		require.Equal(t, errAway.Error(), detail)

		pass(10 * time.Second)
		require.True(t, p.isKilled(), "what is started anew is killed too")
		p.answers(func() (time.Duration, error) { return 5 * time.Minute, nil })
		pass(time.Minute)
		state, _, _ = k.Status()
		require.Equal(t, Held, state, "the cluster's time had not gone that far")
	})
}

func TestKeysThatAreLostAreSignedWithNoMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		k, stop := p.keep()
		defer stop()
		pass(time.Minute)
		p.answers(func() (time.Duration, error) { return 0, errors.Join(ErrLost, errors.New("stale fence")) })
		pass(31 * time.Second)
		state, left, detail := k.Status()
		require.Equal(t, Lost, state)
		require.Zero(t, left)
		require.Contains(t, detail, "stale fence")
		p.mu.Lock()
		require.Less(t, p.clock()-p.killed, 2*time.Second)
		p.mu.Unlock()
		p.answers(away)
		pass(time.Minute)
		state, _, _ = k.Status()
		require.Equal(t, Lost, state, "silence is no better news")
	})
}

// A sidecar that is started anew alone goes on with the deadline of the one before.
func TestRestartedKeeperRemembers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stopped time.Duration
		state   State
		forgets bool
	}{
		"soon":                 {10 * time.Second, Held, false},
		"too late":             {3 * time.Minute, Over, false},
		"without its memory":   {10 * time.Second, Starting, true},
		"too late, no memory ": {3 * time.Minute, Starting, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPod(t)
				_, stop := p.keep()
				pass(time.Minute)
				stop()
				p.answers(away)
				pass(c.stopped)
				if c.forgets {
					p.memory = map[string]time.Duration{}
				}
				p.mu.Lock()
				p.killed = 0
				p.mu.Unlock()
				k, stop := p.keep()
				defer stop()
				state, _, _ := k.Status()
				require.Equal(t, c.state, state)
				pass(time.Second)
				require.Equal(t, c.state != Held, p.isKilled())
			})
		})
	}
}

func TestWithoutLeasesNothingIsKilled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		p.runs = false
		p.answers(func() (time.Duration, error) { return 0, ErrOff })
		k, stop := p.keep()
		defer stop()
		pass(time.Minute)
		p.mu.Lock()
		p.runs = true
		p.mu.Unlock()
		pass(time.Hour)
		state, _, _ := k.Status()
		require.Equal(t, Off, state)
		require.False(t, p.isKilled())
		p.answers(away)
		pass(time.Hour)
		require.False(t, p.isKilled(), "there is no lease that could run out")

		// One that was promised runs out, whatever the servers know of leases later.
		p.answers(func() (time.Duration, error) { return 5 * time.Minute, nil })
		pass(2 * time.Second)
		p.answers(func() (time.Duration, error) { return 0, ErrOff })
		pass(2 * time.Minute)
		require.False(t, p.isKilled())
		pass(time.Minute)
		require.True(t, p.isKilled())
	})
}

// A lease whose deadline can not be remembered is none: a restart would forget it.
func TestMemoryThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		k, err := New(Config{
			Renew: p.renew, Clock: p.clock, Others: p.others, Memory: fullDisk{}, Logger: slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
		k.renew(t.Context())
		state, _, detail := k.Status()
		require.Equal(t, Starting, state)
		require.Contains(t, detail, "no space")
	})
}

type fullDisk struct{}

func (fullDisk) Load() (time.Duration, bool, error) { return 0, false, nil }
func (fullDisk) Store(time.Duration) error          { return errors.New("no space left on device") }
