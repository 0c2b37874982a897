package ethereum

import (
	"context"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// trap springs at one of the steps that a leader makes. Steps are the moments
// before and after every request to the chain and every proposal.
type trap struct {
	mu     sync.Mutex
	steps  int
	at     int
	spring func() (goOn bool)
	sprung chan struct{}
}

func newTrap(at int, spring func() bool) *trap {
	return &trap{at: at, spring: spring, sprung: make(chan struct{})}
}

func (x *trap) step() bool {
	x.mu.Lock()
	x.steps++
	now := x.steps == x.at
	x.mu.Unlock()
	if !now {
		return true
	}
	close(x.sprung)
	return x.spring()
}

// isSprung reports whether the step was reached.
func (x *trap) isSprung() bool {
	select {
	case <-x.sprung:
		return true
	default:
		return false
	}
}

// set puts the trap under everything that leader in does with the chain's front.
func (x *trap) set(f *front, in *session) {
	f.hook(func([]string) bool { return x.step() }, func([]string) bool { return x.step() })
	in.before = func(*fsmpb.Command) bool { return x.step() }
	in.after = func(*fsmpb.Command) bool { return x.step() }
}

// run makes passes with blocks between until the trap springs or all is done.
func (x *trap) run(ctx context.Context, s *scene, d *Duty, in *session) {
	for range 100 {
		before := s.machine.View().Meta().GetAppliedIndex()
		err := d.pass(ctx, in)
		if x.isSprung() || err == nil && s.machine.View().Meta().GetAppliedIndex() == before {
			return
		}
		s.backend.Commit()
	}
}

const (
	crashKeys   = 3
	crashFlight = 2 // so that there are several rounds
)

func newCrashScene(t *testing.T, c *chain, number int) *scene {
	t.Helper()
	s := newScene(t, c, number, func(cfg *Config) { cfg.InFlight = crashFlight })
	s.ask("a", crashKeys)
	return s
}

// countSteps counts the steps of an undisturbed run.
func countSteps(t *testing.T, c *chain) int {
	t.Helper()
	s := newCrashScene(t, c, richAccounts-1)
	x, leader := newTrap(0, nil), s.begin()
	x.set(s.front, leader)
	x.run(t.Context(), s, s.duty(), leader)
	c.front.hook(nil, nil)
	s.requirePaid(crashKeys)
	require.Greater(t, x.steps, 20)
	return x.steps
}

// A leader dies at any step: before it did what it was about to do, or after it
// was done and before the answer came. The next leader knows the state and the
// chain, and nothing else.
func TestLeaderDiesAtAnyStep(t *testing.T) {
	t.Parallel()
	c := newChain(t)
	for k := range countSteps(t, c) {
		t.Run(strconv.Itoa(k+1), func(t *testing.T) { //nolint:paralleltest // they share a chain
			s := newCrashScene(t, c, k+1)
			ctx, die := context.WithCancel(t.Context())
			defer die()
			x, leader := newTrap(k+1, func() bool { die(); return false }), s.begin()
			x.set(s.front, leader)
			x.run(ctx, s, s.duty(), leader)
			require.True(t, x.isSprung())
			s.front.hook(nil, nil)

			s.settle(s.duty(), s.begin())
			s.requirePaid(crashKeys)
			require.Empty(t, s.status())
		})
	}
}

// A leader is paused at any step, another takes over and finishes, and the first
// wakes up and goes on where it was as if nothing had happened.
func TestLeaderIsPausedAtAnyStep(t *testing.T) {
	t.Parallel()
	c := newChain(t)
	for k := range countSteps(t, c) {
		t.Run(strconv.Itoa(k+1), func(t *testing.T) { //nolint:paralleltest // they share a chain
			s := newCrashScene(t, c, k+1)
			asleep := s.begin()
			paused, wake := context.WithCancel(t.Context())
			defer wake()
			x := newTrap(k+1, func() bool { <-paused.Done(); return true })
			first := s.duty()
			x.set(s.front, asleep)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				x.run(t.Context(), s, first, asleep)
			}()
			<-x.sprung

			s.cfg.RPC = []string{newFront(t, s.socket).URL}
			s.settle(s.duty(), s.begin())
			s.requirePaid(crashKeys)

			wake()
			<-ended
			s.front.hook(nil, nil)
			s.backend.Commit()
			s.requirePaid(crashKeys)
			require.Empty(t, s.status())
		})
	}
}

// Like the one above, but the first leader wakes up while the second is at work:
// after each of its passes the first makes one, too.
func TestTwoLeadersAtOnce(t *testing.T) {
	t.Parallel()
	s := newScene(t, newChain(t), 1, func(cfg *Config) { cfg.InFlight = 3 })
	s.ask("a", 8)
	old, oldDuty := s.begin(), s.duty()
	require.NoError(t, oldDuty.pass(t.Context(), old))
	current, duty := s.begin(), s.duty()
	for range 8 {
		require.NoError(t, duty.pass(t.Context(), current))
		_ = oldDuty.pass(t.Context(), old) // refused wherever it proposes
		s.backend.Commit()
		_ = oldDuty.pass(t.Context(), old)
	}
	s.settle(duty, current)
	s.requirePaid(8)
}
