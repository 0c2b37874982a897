package ethereum

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// Session is the leadership in which the duty runs.
type Session interface {
	// View returns the applied state, which includes everything that was logged
	// before the session began.
	View() *fsm.View
	// Propose has the command decided, after filling in version, session, caller
	// and wall clock, and returns its value. The error wraps a *fsm.Refusal where
	// the state machine refused; any other means that the outcome is unknown or
	// that the session is over. When it returns without one, View shows the change.
	Propose(ctx context.Context, cmd *fsmpb.Command) (any, error)
}

// Errors of a SeedSource.
var (
	// ErrNoSeed says that no seed was installed in the cluster yet.
	ErrNoSeed = errors.New("the cluster has no seed")
	// ErrSealed says that this node can not open the cluster's secrets.
	ErrSealed = errors.New("this node is sealed")
)

// SeedSource opens the cluster's seed.
type SeedSource interface {
	// Seed returns the seed, a copy of the caller's own, who clears it with Zero.
	// Errors wrap ErrNoSeed or ErrSealed where that is the reason.
	Seed(ctx context.Context) (*validator.Seed, error)
}

// Duty derives keys and makes deposits. Between passes it keeps nothing but its
// connection and what can be made anew: the index of DepositEvents, and what it
// found in there of payments by others.
type Duty struct {
	cfg       Config
	seeds     SeedSource
	log       *slog.Logger
	metrics   *metrics
	endpoints *endpoints
	client    *client  // of the endpoints, for the present pass
	checked   bool     // the contract was seen by this client
	events    *Indexer // every DepositEvent up to some block
	historian historian
	reported  time.Time // when the status was last proposed
	failures  int       // passes in a row that ended with an error
	paid      paidByOthers
}

// New returns a duty that has not connected to anything yet. Errors wrap
// ErrConfig or are about registering metrics.
func New(cfg Config, seeds SeedSource) (*Duty, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, err
	}
	d := &Duty{cfg: cfg, seeds: seeds, log: cfg.Logger, metrics: m, events: newIndexer(cfg)}
	if cfg.configured() {
		if err := cfg.Metrics.Register(d.events); err != nil {
			return nil, fmt.Errorf("register metrics of the index: %w", err)
		}
	}
	return d, nil
}

// Indexer returns the index of DepositEvents that the duty asks before it signs.
func (d *Duty) Indexer() *Indexer { return d.events }

// Run makes passes until ctx ends, and then returns nil: whatever goes wrong
// meanwhile is told by the status and tried again. A duty runs in one session
// at a time.
func (d *Duty) Run(ctx context.Context, s Session) error {
	defer d.metrics.reset()
	d.paid = paidByOthers{}
	for ctx.Err() == nil {
		view := s.View()
		started := d.cfg.Now()
		err := d.pass(ctx, s)
		d.metrics.passed(err, d.cfg.Now().Sub(started))
		if d.failures++; err == nil {
			d.failures = 0
		}
		if err != nil && ctx.Err() == nil {
			d.log.Debug("deposit pass ended early", "error", err)
		}
		d.rest(ctx, s, view, err)
	}
	if d.endpoints != nil {
		d.endpoints.close()
		d.endpoints, d.client = nil, nil
	}
	return nil
}

// rest waits until the next pass is due: the poll interval is over, or the state
// changed since view and there is something to do. Between two passes there is
// always a short while, in which much that happens at once is gathered.
func (d *Duty) rest(ctx context.Context, s Session, view *fsm.View, failed error) {
	const gather = 10 // of a poll interval
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Poll)
	defer cancel()
	pause, stop := context.WithTimeout(ctx, d.cfg.Poll/gather)
	defer stop()
	<-pause.Done()
	if failed != nil {
		<-ctx.Done()
		return
	}
	for view.WatchWork().Wait(ctx.Done()) {
		if view = s.View(); hasWork(view) {
			return
		}
	}
}

// hasWork reports whether anything is left to derive, to pay, or to watch.
func hasWork(view *fsm.View) bool {
	for range view.ToSign() {
		return true
	}
	for range open(view) {
		return true
	}
	return lacking(view) > 0
}

// pass is one time through everything.
type pass struct {
	duty    *Duty
	session Session
	view    *fsm.View // the state before the world was looked at
	world   world
	history history              // what the state knows of the chain, and the chain holds
	indexed bool                 // all DepositEvents up to the head that was seen are in the index
	waits   []*waiting           // why something has to wait, the most important first
	settled map[common.Hash]bool // attempts that need not be sent: known to the client, or landed
}

// pass runs the steps in order. A reason to wait ends it early; so does any other
// error, which leaves the status as it is.
func (d *Duty) pass(ctx context.Context, s Session) error {
	p := &pass{duty: d, session: s, view: s.View(), settled: make(map[common.Hash]bool)}
	if w := p.off(p.view); w != nil {
		p.wait(w)
	}
	steps := []func(context.Context) error{p.generate}
	if d.cfg.configured() {
		steps = append(steps, p.steps()...)
	} else if !d.cfg.Off {
		p.wait(waitFor(Unconfigured, "this node was given no execution client to make deposits with"))
	}
	for _, step := range steps {
		err := step(ctx)
		if w := (*waiting)(nil); errors.As(err, &w) {
			if ctx.Err() != nil {
				return fmt.Errorf("the pass was cut off: %w", ctx.Err())
			}
			p.wait(w)
			break
		}
		if err != nil {
			return p.failed(ctx, err)
		}
	}
	p.tellPaid()
	p.blame()
	d.metrics.observe(d.cfg, p.world)
	return p.report(ctx)
}

// patientFailures is how many passes in a row may fail before that is a status.
// One or two do when a session ends, or when two proposals cross.
const patientFailures = 3

// failed ends a pass that met with an error which is no reason to wait. One that
// lasts is made one, so that somebody learns of it.
func (p *pass) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil || p.duty.failures < patientFailures-1 {
		return err
	}
	p.waits = append([]*waiting{waitFor(Failing, "the leader's passes fail again and again, this one with: %v", err)}, p.waits...)
	return errors.Join(err, p.report(ctx))
}

// blame has the next pass use another client if this one's was of no use.
func (p *pass) blame() {
	for _, w := range p.waits {
		if p.duty.client != nil && blamed(w) {
			p.duty.endpoints.fault(w)
			return
		}
	}
}

// wait notes a reason that keeps something, but not the rest of the pass.
func (p *pass) wait(w *waiting) { p.waits = append(p.waits, w) }
