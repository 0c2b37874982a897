package ethereum

import (
	"context"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// trap springs at one of the steps that a leader makes: the requests to the
// chain and the proposals, in order. What the leader did up to one step and
// before the next can not be told apart from outside, so these are all moments
// at which something can happen to it.
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

// before springs the trap instead of, or before, the step.
func (x *trap) before(f *front, in *session) {
	f.hook(func([]string) bool { return x.step() }, nil)
	in.before = func(*fsmpb.Command) bool { return x.step() }
}

// after springs it when the step was done and its answer has not come yet.
func (x *trap) after(f *front, in *session) {
	f.hook(nil, func([]string) bool { return x.step() })
	in.after = func(*fsmpb.Command) bool { return x.step() }
}

// run makes passes with blocks between until the leader is dead or has nothing
// left to do.
func (x *trap) run(ctx context.Context, s *scene, d *Duty, in *session) {
	for range 100 {
		before := s.machine.View().Meta().GetAppliedIndex()
		err := d.pass(ctx, in)
		if ctx.Err() != nil || err == nil && s.machine.View().Meta().GetAppliedIndex() == before {
			return
		}
		s.backend.Commit()
	}
}

// stride from step to step of a walk: all of them, or a few under the race detector.
var stride = map[bool]int{false: 1, true: 5}[underRace]

const (
	crashKeys   = 2
	crashFlight = 1 // so that there are several rounds
)

// walk calls do for every step of a leader that pays for keys, each
// time with a cluster, an account and a seed of its own. do ends the work. It goes
// twice: when all is well, and when everything is in the way.
func walk(t *testing.T, do func(t *testing.T, s *scene, step int)) {
	t.Helper()
	t.Run("all is well", func(t *testing.T) {
		walkOver(t, crashKeys, func(*scene) {}, do)
	})
	t.Run("trouble", func(t *testing.T) {
		walkOver(t, 1, (*scene).trouble, do)
	})
}

// trouble: nonces of the account were used by somebody else, which an operator
// knows; the first key was paid for by somebody else; and the client takes no
// deposit before its fees were raised.
func (s *scene) trouble() {
	s.t.Helper()
	leader, d := s.begin(), s.duty()
	require.NoError(s.t, d.pass(s.t.Context(), leader))
	s.steal()
	s.steal()
	require.NoError(s.t, d.pass(s.t.Context(), leader))
	require.Equal(s.t, string(Stopped), s.status())
	s.resume()
	input, wei := s.depositOf(0)
	s.pay(accountKey(stranger), contractAddress, wei, input)
	s.backend.Commit()
	s.before++
	s.front.refusing(s.cheap)
}

// cheap tells whether the call sends a transaction while there is one that was
// not replaced.
func (s *scene) cheap(call rpcCall) bool {
	if call.Method != "eth_sendRawTransaction" {
		return false
	}
	for d := range open(s.machine.View()) {
		if len(d.GetAttempts()) < 2 {
			return true
		}
	}
	return false
}

func walkOver(t *testing.T, keys int, prepare func(*scene), do func(t *testing.T, s *scene, step int)) {
	t.Helper()
	c := newChain(t)
	newCrashScene := func(t *testing.T, number int) *scene {
		t.Helper()
		s := freshScene(t, c, number, func(cfg *Config) { cfg.InFlight, cfg.ReplaceAfter = crashFlight, 1 })
		prepare(s)
		s.ask("a", uint32(keys))
		return s
	}
	undisturbed := newCrashScene(t, richAccounts-1)
	x, leader := newTrap(0, nil), undisturbed.begin()
	x.before(c.front, leader)
	x.run(t.Context(), undisturbed, undisturbed.duty(), leader)
	c.front.hook(nil, nil)
	c.front.refusing(nil)
	undisturbed.requirePaid(keys)
	require.Greater(t, x.steps, 20)
	require.Less(t, x.steps, richAccounts-1)
	for step := 1; step <= x.steps; step += stride {
		t.Run(strconv.Itoa(step), func(t *testing.T) {
			s := newCrashScene(t, step)
			do(t, s, step)
			c.front.hook(nil, nil)
			c.front.refusing(nil)
			s.requirePaid(keys)
			require.NoError(t, s.machine.View().Check())
			require.Empty(t, s.status())
		})
	}
}

// The next leader knows the state and the chain, and nothing else.
func TestLeaderDiesAtAnyStep(t *testing.T) { //nolint:tparallel // the steps share a chain
	t.Parallel()
	walk(t, func(t *testing.T, s *scene, step int) {
		t.Helper()
		ctx, die := context.WithCancel(t.Context())
		defer die()
		x, leader := newTrap(step, func() bool { die(); return false }), s.begin()
		x.before(s.front, leader)
		x.run(ctx, s, s.duty(), leader)
		require.True(t, x.isSprung())
		s.front.hook(nil, nil)
		s.settle(s.duty(), s.begin())
	})
}

// The outcome of one step is unknown to the leader, who goes on.
func TestAnswerIsLostAtAnyStep(t *testing.T) { //nolint:tparallel // the steps share a chain
	t.Parallel()
	walk(t, func(t *testing.T, s *scene, step int) {
		t.Helper()
		x, leader, d := newTrap(step, func() bool { return false }), s.begin(), s.duty()
		x.after(s.front, leader)
		x.run(t.Context(), s, d, leader)
		require.True(t, x.isSprung())
		s.settle(d, leader)
	})
}

// Another leader takes over and finishes. Then the first wakes up and goes on
// where it was, as if nothing had happened.
func TestLeaderIsPausedAtAnyStep(t *testing.T) { //nolint:tparallel // the steps share a chain
	t.Parallel()
	walk(t, func(t *testing.T, s *scene, step int) {
		t.Helper()
		paused, wake := context.WithCancel(t.Context())
		defer wake()
		asleep, first := s.begin(), s.duty()
		x := newTrap(step, func() bool { <-paused.Done(); return true })
		x.before(s.front, asleep)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			x.run(t.Context(), s, first, asleep)
		}()
		<-x.sprung

		s.cfg.RPC = []string{newFront(t, s.socket).URL}
		s.settle(s.duty(), s.begin())
		s.requirePaid(len(s.machine.View().Allocation("default", "a").GetKeys()))

		wake()
		<-ended
		s.backend.Commit()
	})
}

// Two leaders are at work at the same time, one of them without knowing that its
// session is over.
func TestTwoLeadersAtOnce(t *testing.T) {
	t.Parallel()
	s := freshScene(t, newChain(t), 1, func(cfg *Config) { cfg.InFlight = 3 })
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
