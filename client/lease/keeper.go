// Package lease keeps a pod's promise: nothing of it signs once half of its lease has
// passed without a renewal. The cluster takes a lease that ran out, in its own time, as
// proof that the pod can no longer sign, so whoever keeps it has to be sure to have
// stopped the validator well before.
//
// Time is counted from before a renewal was sent, by CLOCK_BOOTTIME, which goes on while
// the machine sleeps, and by the wall clock, which goes on where a virtual machine was
// stopped; whichever is later counts. The cluster's time may run ahead by one tick of it;
// half of a lease is more than that.
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
	ErrLost = errors.New("the keys are not this pod's any more: delete the pod")
	// ErrOff: the servers know no leases.
	ErrOff = errors.New("the servers run without leases")
)

// Config is what a [Keeper] needs of the world.
type Config struct {
	// Renew renews the lease and returns how long it lasts. Only with begin a lease that
	// there is not begins.
	Renew func(ctx context.Context, begin bool) (time.Duration, error)
	// Clock is CLOCK_BOOTTIME; it never goes back while the machine runs.
	Clock func() time.Duration
	// Wall is the wall clock.
	Wall func() time.Time
	// Others are the processes of the pod that have to end when the lease does.
	Others func() ([]Process, error)
	// Memory remembers the deadline for the time when this process is started anew.
	Memory Memory
	// Every is the longest time between two renewals; a tenth of the lease if zero.
	Every time.Duration
	// Grace is how long before the deadline processes are asked to end; then they are killed.
	Grace  time.Duration
	Logger *slog.Logger
}

// Process is a process that can be ended.
type Process interface {
	// Check returns an error if this process may not end it.
	Check() error
	// Terminate asks it to end; it does nothing if it is gone.
	Terminate() error
	// Kill ends it; it does nothing if it is gone.
	Kill() error
	// String names it for people.
	String() string
}

// Deadline is when nothing may sign any more, by both clocks. The zero value is long over.
type Deadline struct {
	Boot time.Duration
	Wall time.Time
}

func (d Deadline) plus(more time.Duration) Deadline { return Deadline{d.Boot + more, d.Wall.Add(more)} }

// left is the time until the deadline, by the clock that says less.
func (d Deadline) left(now Deadline) time.Duration {
	return min(d.Boot-now.Boot, d.Wall.Sub(now.Wall))
}

// Memory keeps the deadline of a lease where a restarted keeper finds it.
type Memory interface {
	// Load returns the deadline; ok is false if none is known of this boot of the machine.
	Load() (d Deadline, ok bool, err error)
	// Store remembers a deadline in the place of the one before.
	Store(d Deadline) error
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
	// Powerless: the lease goes on, and what it would have to end it may not end.
	Powerless
)

// String is the state as people read it.
func (s State) String() string {
	return [...]string{"starting", "held", "off", "over", "lost", "powerless"}[s]
}

// MaySign tells whether something of the pod may sign now.
func (s State) MaySign() bool { return s == Held || s == Off }

// Keeper keeps the lease of one pod.
type Keeper struct {
	cfg Config

	mu       sync.Mutex
	state    State
	promised bool // there is a deadline
	deadline Deadline
	every    time.Duration
	trouble  error // of the last renewal
}

// Times between two tries to renew.
const (
	startingEvery = 2 * time.Second
	offEvery      = 30 * time.Second // nothing is at stake; how soon leases that are switched on are heeded
	lostEvery     = 30 * time.Second
)

// New returns a keeper, which goes on with the deadline that an earlier one had.
func New(cfg Config) (*Keeper, error) {
	k := &Keeper{cfg: cfg, every: startingEvery}
	deadline, ok, err := cfg.Memory.Load()
	if err != nil {
		return nil, fmt.Errorf("what is remembered of the lease: %w", err)
	}
	if ok {
		k.deadline, k.promised, k.state = deadline, true, Held
	}
	return k, nil
}

func (k *Keeper) now() Deadline { return Deadline{k.cfg.Clock(), k.cfg.Wall()} }

// Status tells whether something of the pod may sign now, for how long without another
// renewal, and in words what is the matter.
func (k *Keeper) Status() (state State, left time.Duration, detail string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	state = k.current()
	if state == Held {
		left = k.deadline.left(k.now())
	}
	if k.trouble != nil {
		detail = k.trouble.Error()
	}
	return state, left, detail
}

// current is the state, now. What was promised once does not end with servers that know
// no leases any more: theirs goes on in the cluster's state.
func (k *Keeper) current() State {
	switch k.state {
	case Held, Powerless, Off:
		if k.promised && k.deadline.left(k.now()) <= 0 {
			return Over
		}
	case Starting, Over, Lost:
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

// renewAlways renews the lease until ctx ends.
func (k *Keeper) renewAlways(ctx context.Context) {
	for {
		t := time.NewTimer(k.renew(ctx))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// renew asks once, and returns when to ask again. The promise goes before the lease: only
// when a deadline is remembered, and counts, a lease is begun, so that none can begin
// without it, whatever becomes of the answer.
func (k *Keeper) renew(ctx context.Context) time.Duration {
	sent := k.now()
	k.mu.Lock()
	begin := k.promised
	k.mu.Unlock()
	d, err := k.cfg.Renew(ctx, begin)
	var stored error
	switch {
	case err == nil:
		stored = k.cfg.Memory.Store(sent.plus(d / 2))
	case errors.Is(err, ErrLost):
		stored = k.cfg.Memory.Store(Deadline{})
	}
	unable := k.unable()
	k.mu.Lock()
	defer k.mu.Unlock()
	was, again := k.state, false
	k.trouble = errors.Join(err, stored, unable)
	switch {
	case err == nil && (begin || stored == nil):
		// A restarted keeper may find an older deadline, and stops the sooner.
		k.state, k.deadline, k.promised, k.every = Held, sent.plus(d/2), true, d/10
		if unable != nil {
			k.state = Powerless
		}
		if k.cfg.Every > 0 {
			k.every = min(k.cfg.Every, k.every)
		}
		again = !begin
	case errors.Is(err, ErrLost):
		k.state, k.every = Lost, lostEvery
	case errors.Is(err, ErrOff) && k.state != Lost:
		k.state, k.every = Off, offEvery
	} // anything else says nothing: a lease that is held goes on until its deadline
	if is := k.current(); is != was {
		k.cfg.Logger.Info("lease", "state", is, "was", was, "lasts", d, "reason", k.trouble)
	}
	if again { // now that it is promised
		return 0
	}
	return k.every
}

// unable says why not all others can be ended when they have to be.
func (k *Keeper) unable() error {
	others, err := k.cfg.Others()
	for _, p := range others {
		err = errors.Join(err, p.Check())
	}
	return err
}
