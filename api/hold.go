package api

import (
	"context"
	"sync"
	"time"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node"
)

// leadershipChecked is how often a node that holds requests looks whether it
// still leads. One look serves all of them.
const leadershipChecked = 250 * time.Millisecond

// holds are the requests that wait for a change of the state.
type holds struct {
	node  Node
	limit int

	mu sync.Mutex
	n  int
	// reign is shared by all that wait now, nil while nobody does.
	reign *reign
}

// reign ends when this node loses its leadership.
type reign struct {
	lost context.Context //nolint:containedctx // the life of a leadership, not of a call
	stop context.CancelFunc
	done chan struct{}
}

// turn is one request's place among those that are held. It is taken when the request
// first waits and kept while it looks again, so that a change which wakes it for
// nothing does not cost it its place.
type turn struct {
	holds *holds
	lost  context.Context //nolint:containedctx // the life of a leadership, nil before the first wait
}

// turn is to be ended with leave.
func (h *holds) turn() *turn { return &turn{holds: h} }

// hold waits until one of the changes happens, and reports whether one did. It returns early when the caller goes away, the time is over, the
// server stops or this node no longer leads.
func (t *turn) hold(ctx, stopping context.Context, changes fsm.Changes, most time.Duration) (bool, error) {
	if t.lost == nil {
		lost, err := t.holds.enter()
		if err != nil {
			return false, err
		}
		t.lost = lost
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	defer context.AfterFunc(t.lost, cancel)() //nolint:contextcheck // lost is the life of the leadership, not of the call
	defer context.AfterFunc(stopping, cancel)()
	return changes.Wait(ctx.Done()), nil
}

func (t *turn) leave() {
	if t.lost != nil {
		t.holds.leave()
		t.lost = nil
	}
}

// held is how many requests wait now.
func (h *holds) held() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n
}

func (h *holds) enter() (lost context.Context, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n >= h.limit {
		return nil, newProblem(overloaded, "%s held already; repeat without wait, or later", plural(h.n, "request is", "requests are"))
	}
	h.n++
	if h.reign == nil {
		h.reign = watchReign(h.node)
	}
	return h.reign.lost, nil
}

// leave lets the last one end the watch, and wait for its end.
func (h *holds) leave() {
	h.mu.Lock()
	h.n--
	over := h.reign
	if h.n > 0 {
		over = nil
	} else {
		h.reign = nil
	}
	h.mu.Unlock()
	if over != nil {
		over.stop()
		<-over.done
	}
}

func watchReign(n Node) *reign {
	r := &reign{done: make(chan struct{})}
	r.lost, r.stop = context.WithCancel(context.Background())
	began := n.Status()
	go func() {
		defer close(r.done)
		defer r.stop()
		tick := time.NewTicker(leadershipChecked)
		defer tick.Stop()
		for leads(n.Status(), began.Term) {
			select {
			case <-r.lost.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return r
}

func leads(s node.Status, term uint64) bool { return s.IsLeader && s.Term == term }
