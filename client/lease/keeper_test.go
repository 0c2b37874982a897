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
	memory   *Deadline
	begun    bool // the servers have a lease
	powers   error
	frozen   time.Duration // what the machine's own clock shows while it stands still; 0 while it goes
	runs     bool
	log      bytes.Buffer
}

func newPod(t *testing.T) *pod {
	t.Helper()
	return &pod{
		t: t, began: time.Now(), runs: true,
		answer: func() (time.Duration, error) { return 5 * time.Minute, nil },
	}
}

func (p *pod) clock() time.Duration {
	if p.frozen > 0 {
		return p.frozen
	}
	return time.Hour + time.Since(p.began)
}

func (p *pod) answers(f func() (time.Duration, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = f
}

func (p *pod) renew(_ context.Context, begin bool) (time.Duration, error) {
	p.mu.Lock()
	sent, f, takes := p.clock(), p.answer, p.takes
	p.mu.Unlock()
	pass(takes)
	d, err := f()
	p.mu.Lock()
	defer p.mu.Unlock()
	if begin && !errors.Is(err, ErrOff) && !errors.Is(err, errAway) {
		p.begun = true // also where the answer is lost
	}
	if err == nil {
		p.lastGood = sent
	}
	return d, err
}

// Load and Store make it a [Memory].
func (p *pod) Load() (Deadline, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.memory == nil {
		return Deadline{}, false, nil
	}
	return *p.memory, true, nil
}

func (p *pod) Store(d Deadline) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.memory = &d
	return nil
}

func (p *pod) Check() error { return p.powers }

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
		Renew: p.renew, Clock: p.clock, Wall: time.Now, Others: p.others, Memory: p, Grace: 10 * time.Second,
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
					p.memory = nil
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
		pass(offEvery + 2*time.Second)
		p.answers(func() (time.Duration, error) { return 0, ErrOff })
		pass(100 * time.Second)
		require.False(t, p.isKilled())
		pass(90 * time.Second)
		require.True(t, p.isKilled())
	})
}

// A lease whose deadline can not be remembered is not begun: a restart would forget it.
func TestMemoryThatFails(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]bool{"from the start": false, "leases are switched on later": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPod(t)
				k, err := New(Config{
					Renew: p.renew, Clock: p.clock, Wall: time.Now, Others: p.others, Memory: fullDisk{}, Logger: slog.New(slog.DiscardHandler),
				})
				require.NoError(t, err)
				want := Starting
				if off {
					p.answers(func() (time.Duration, error) { return 0, ErrOff })
					k.renew(t.Context())
					p.answers(func() (time.Duration, error) { return 5 * time.Minute, nil })
					want = Off
				}
				for range 3 {
					k.renew(t.Context())
				}
				state, _, detail := k.Status()
				require.Equal(t, want, state)
				require.Contains(t, detail, "no space")
				require.False(t, p.begun)
			})
		})
	}
}

type fullDisk struct{}

func (fullDisk) Load() (Deadline, bool, error) { return Deadline{}, false, nil }
func (fullDisk) Store(Deadline) error          { return errors.New("no space left on device") }

// Leases are switched on while sidecars run. The answer to the first renewal that
// begins one is lost, and nothing is heard after it.
func TestLeaseThatBeginsUnheard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		p.answers(func() (time.Duration, error) { return 0, ErrOff })
		k, stop := p.keep()
		defer stop()
		pass(time.Minute)
		calls := 0
		p.answers(func() (time.Duration, error) {
			if calls++; calls == 1 {
				return 5 * time.Minute, nil // it could begin
			}
			return 0, errors.New("the answer is lost")
		})
		pass(offEvery + 2*time.Second)
		require.True(t, p.begun)
		state, left, _ := k.Status()
		require.Equal(t, Held, state)
		require.LessOrEqual(t, left, 150*time.Second)
		p.answers(away)
		p.mu.Lock()
		p.killed = 0
		p.mu.Unlock()
		pass(150 * time.Second)
		require.True(t, p.isKilled())
	})
}

// A sidecar that learned that the keys are lost, and is started anew alone.
func TestLostIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		_, stop := p.keep()
		pass(time.Minute)
		p.answers(func() (time.Duration, error) { return 0, ErrLost })
		pass(31 * time.Second)
		stop()
		p.answers(away)
		k, stop := p.keep()
		defer stop()
		pass(time.Second)
		state, _, _ := k.Status()
		require.Equal(t, Over, state)
	})
}

// A virtual machine that was stopped does not know how long.
func TestStoppedMachine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		require.NoError(t, p.Store(Deadline{time.Hour + 150*time.Second, time.Now().Add(150 * time.Second)}))
		p.frozen = time.Hour + time.Second
		p.answer = away
		k, stop := p.keep()
		defer stop()
		pass(2 * time.Minute)
		state, _, _ := k.Status()
		require.Equal(t, Held, state)
		pass(time.Minute)
		state, _, _ = k.Status()
		require.Equal(t, Over, state, "the wall clock knows")
	})
}

// That the validator can not be ended is told when it starts, not when it has to end.
func TestPowerless(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPod(t)
		p.powers = errors.New("process 7 (validator) can not be ended")
		k, stop := p.keep()
		defer stop()
		pass(40 * time.Second)
		state, _, detail := k.Status()
		require.Equal(t, Powerless, state)
		require.False(t, state.MaySign())
		require.Contains(t, detail, "process 7")
	})
}
