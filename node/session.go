package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Duty is a control loop that runs on the leader alone: it reads the state,
// looks at the world, acts, and proposes what it saw. It must return soon after
// its context ends, but correctness never depends on that: the node may be
// paused at any instruction and wake up when another one leads.
type Duty interface {
	// Name of the duty, as audit records and the log call it.
	Name() string
	// Run works until the context ends. An error is logged and Run is called
	// again after a pause, while the session lasts.
	Run(ctx context.Context, s *Session) error
}

// DutyFunc makes a duty of a function.
func DutyFunc(name string, run func(ctx context.Context, s *Session) error) Duty {
	return dutyFunc{name: name, run: run}
}

type dutyFunc struct {
	name string
	run  func(ctx context.Context, s *Session) error
}

// Name implements Duty.
func (d dutyFunc) Name() string { return d.name }

// Run implements Duty.
func (d dutyFunc) Run(ctx context.Context, s *Session) error { return d.run(ctx, s) }

// Session is one uninterrupted leadership of this node.
type Session struct {
	node    *Node
	term    uint64
	queue   chan *proposal
	readers chan chan error
	done    <-chan struct{}
}

func newSession(n *Node, term uint64) *Session {
	return &Session{
		node: n, term: term,
		queue:   make(chan *proposal, 4*maxBatch),
		readers: make(chan chan error),
	}
}

// Number of the session: the log term of the command that began it.
func (s *Session) Number() uint64 { return s.term }

// View returns the applied state.
func (s *Session) View() *fsm.View { return s.node.View() }

// run keeps the session open until the context ends and everything that works
// in it has stopped.
func (s *Session) run(ctx context.Context) {
	s.done = ctx.Done()
	var workers sync.WaitGroup
	workers.Go(func() { s.coalesce(ctx) })
	workers.Go(func() { s.serveReaders(ctx) })
	workers.Go(func() { s.tick(ctx) })
	for _, d := range s.node.duties {
		workers.Go(func() { s.work(ctx, d) })
	}
	s.node.session.Store(s)
	<-ctx.Done()
	s.node.session.CompareAndSwap(s, nil)
	workers.Wait()
}

// work runs a duty again and again while the session lasts.
func (s *Session) work(ctx context.Context, d Duty) {
	for {
		err := d.Run(ctx, s)
		if ctx.Err() != nil {
			return
		}
		s.node.log.Warn("duty stopped and starts again", "duty", d.Name(), "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

// tick logs the time that passed, measured by the monotonic clock. Time in
// which nobody led does not count: what waits on it waits longer.
func (s *Session) tick(ctx context.Context) {
	ticker := time.NewTicker(s.node.cfg.TickInterval)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		elapsed := now.Sub(last)
		_, err := s.Propose(ctx, &fsmpb.Command{
			Caller: dutyCaller("clock"),
			Body:   &fsmpb.Command_Tick{Tick: &fsmpb.Tick{ElapsedMs: uint64(max(0, elapsed.Milliseconds()))}}, //nolint:gosec // not negative
		})
		if err == nil || errors.Is(err, ErrUnknownOutcome) { // never count the same time twice
			last = now
		}
	}
}

func dutyCaller(name string) *fsmpb.Caller { return &fsmpb.Caller{Name: name, Role: "duty"} }
