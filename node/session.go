package node

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keysteward/keysteward/fsm"
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
	node *Node
	term uint64
	// Nothing lies in queue and readers: who was taken from there is answered,
	// and who was not has surely not been heard.
	queue   chan *proposal
	readers chan chan error
	done    <-chan struct{}
}

func newSession(n *Node, term uint64) *Session {
	return &Session{node: n, term: term, queue: make(chan *proposal), readers: make(chan chan error)}
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
	s.node.working.Store(d.Name(), true)
	defer s.node.working.Delete(d.Name())
	for {
		err := d.Run(ctx, s)
		if ctx.Err() != nil {
			return
		}
		s.node.log.Warn("duty stopped and starts again", "duty", d.Name(), "error", err)
		if pause(ctx, dutyPause) != nil {
			return
		}
	}
}

const dutyPause = time.Second

// busy names the duties that are running.
func (n *Node) busy() string {
	var names []string
	for name := range n.working.Range {
		if name, ok := name.(string); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
