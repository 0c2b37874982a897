// Package lease keeps a pod's promise: nothing of it signs once half of its lease has
// passed without a renewal. The cluster takes a lease that ran out, in its own time, as
// proof that the pod can no longer sign, so whoever keeps it has to be sure to have
// stopped the validator well before.
//
// Time is CLOCK_BOOTTIME, which goes on while the machine sleeps, and is counted from
// before a renewal was sent. The cluster's time may run ahead by one tick of it; half
// of a lease is more than that.
package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Errors of [Config.Renew]; any other one says nothing about the keys.
var (
	// ErrLost: the keys are not the pod's any more.
	ErrLost = errors.New("the keys are not this pod's any more")
	// ErrOff: the servers know no leases.
	ErrOff = errors.New("the servers run without leases")
)

// Config is what a [Keeper] needs of the world.
type Config struct {
	// Renew renews the lease and returns how long it lasts.
	Renew func(ctx context.Context) (time.Duration, error)
	// Clock is CLOCK_BOOTTIME; it never goes back while the machine runs.
	Clock func() time.Duration
	// Others are the processes of the pod that have to end when the lease does.
	Others func() ([]Process, error)
	// Memory remembers the deadline for the time when this process is started anew.
	Memory Memory
	// Every is the time between two renewals; a tenth of the lease if zero.
	Every time.Duration
	// Grace is how long before the deadline processes are asked to end; then they are killed.
	Grace  time.Duration
	Logger *slog.Logger
}

// Process is a process that can be ended.
type Process interface {
	// Terminate asks it to end; it does nothing if it is gone.
	Terminate() error
	// Kill ends it; it does nothing if it is gone.
	Kill() error
	// String names it for people.
	String() string
}

// Memory keeps the deadline of a lease where a restarted keeper finds it.
type Memory interface {
	// Load returns the deadline, in time of the clock; ok is false if none is known
	// of this boot of the machine.
	Load() (deadline time.Duration, ok bool, err error)
	// Store remembers a deadline in the place of the one before.
	Store(deadline time.Duration) error
}

// State is what a keeper knows.
type State int

// States of a keeper.
const (
	// Starting: nothing is known yet, and nothing may sign.
	Starting State = iota
	// Held: the lease goes on.
	Held
	// Off: the servers know no leases, so none can run out.
	Off
	// Over: it was not renewed in time, and may be yet.
	Over
	// Lost: the keys are not the pod's any more.
	Lost
)

func (s State) String() string {
	return [...]string{"starting", "held", "off", "over", "lost"}[s]
}

// Keeper keeps the lease of one pod.
type Keeper struct {
	cfg Config

	mu       sync.Mutex
	state    State
	deadline time.Duration
	every    time.Duration
	trouble  error // of the last renewal
}

// New returns a keeper, which goes on with the deadline that an earlier one had.
func New(cfg Config) (*Keeper, error) {
	k := &Keeper{cfg: cfg, every: time.Second}
	deadline, ok, err := cfg.Memory.Load()
	if err != nil {
		return nil, fmt.Errorf("what is remembered of the lease: %w", err)
	}
	if ok {
		k.deadline = deadline
		k.state = Over
		if cfg.Clock() < deadline {
			k.state = Held
		}
	}
	return k, nil
}

// Status tells whether something of the pod may sign now, and in words what is the matter.
func (k *Keeper) Status() (state State, left time.Duration, detail string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	state = k.current()
	if state == Held {
		left = k.deadline - k.cfg.Clock()
	}
	if k.trouble != nil {
		detail = k.trouble.Error()
	}
	return state, left, detail
}

// MaySign tells whether something of the pod may sign now.
func (s State) MaySign() bool { return s == Held || s == Off }

// current is the state, now. Nothing that was promised once ends with servers that
// know no leases any more: theirs goes on in the cluster's state.
func (k *Keeper) current() State {
	if (k.state == Held || k.state == Off && k.deadline > 0) && k.cfg.Clock() >= k.deadline {
		return Over
	}
	return k.state
}

// Run renews the lease, and ends the others when it is over, until ctx ends. Renewals
// and the end of processes do not wait for each other.
func (k *Keeper) Run(ctx context.Context) error {
	renewals, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.renewAlways(renewals)
	}()
	err := k.guard(ctx)
	stop()
	<-done
	return err
}

const (
	guardEvery = 50 * time.Millisecond // how often the deadline is looked at
	saidEvery  = 30 * time.Second
)

// guard ends the others whenever nothing may sign, again and again: a container may be
// started anew.
func (k *Keeper) guard(ctx context.Context) error {
	tick := time.NewTicker(guardEvery)
	defer tick.Stop()
	var asked, said time.Duration
	for {
		state, left, detail := k.Status()
		now := k.cfg.Clock()
		switch {
		case !state.MaySign():
			if said == 0 || now-said > saidEvery {
				k.cfg.Logger.Error("nothing of this pod may sign: what runs in it is killed", "state", state, "reason", detail)
				said = now
			}
			k.endOthers(Process.Kill)
		case state == Held && left <= k.cfg.Grace:
			if asked == 0 || now-asked > k.cfg.Grace {
				k.cfg.Logger.Warn("the lease is about to end: what runs in this pod is asked to end", "left", left, "reason", detail)
				k.endOthers(Process.Terminate)
				asked = now
			}
		default:
			asked, said = 0, 0
		}
		select {
		case <-ctx.Done():
			return ctx.Err() //nolint:wrapcheck // the caller's own
		case <-tick.C:
		}
	}
}

func (k *Keeper) endOthers(end func(Process) error) {
	others, err := k.cfg.Others()
	if err != nil {
		k.cfg.Logger.Error("the processes of this pod are not to be seen", "error", err)
	}
	for _, p := range others {
		if err := end(p); err != nil {
			k.cfg.Logger.Error("a process of this pod can not be ended: run it as the same user", "process", p, "error", err)
		}
	}
}

// renewAlways renews the lease until ctx ends.
func (k *Keeper) renewAlways(ctx context.Context) {
	for {
		k.renew(ctx)
		k.mu.Lock()
		pause := k.every
		k.mu.Unlock()
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// renew asks once. What is stored before it counts is what a restarted keeper goes by.
func (k *Keeper) renew(ctx context.Context) {
	sent := k.cfg.Clock()
	d, err := k.cfg.Renew(ctx)
	if err == nil {
		err = k.cfg.Memory.Store(sent + d/2)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	was := k.state
	k.trouble = err
	switch {
	case err == nil:
		k.state, k.deadline, k.every = Held, sent+d/2, d/10
		if k.cfg.Every > 0 {
			k.every = min(k.cfg.Every, k.every)
		}
	case errors.Is(err, ErrLost):
		k.state = Lost
	case errors.Is(err, ErrOff) && k.state != Lost:
		k.state = Off
	} // anything else says nothing: a lease that is held goes on until its deadline
	if k.state != was || err != nil && ctx.Err() == nil {
		k.cfg.Logger.Info("lease", "state", k.current(), "was", was, "lasts", d, "error", err)
	}
}
