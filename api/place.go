package api

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node"
)

// place says which node can answer a route, from which state.
type place int

const (
	// onLeader: changes, and what only the leader knows.
	onLeader place = iota + 1
	// reads: linearizable on the leader unless the caller asks for stale.
	reads
	// staleReads: stale on any node unless the caller asks for linearizable.
	staleReads
	// here: any node, from its own state.
	here
	// aside: any node, without the state.
	aside
)

// Parameter and headers of reads.
const (
	consistencyParam   = "consistency"
	appliedIndexHeader = "X-Keysteward-Applied-Index"
	ageHeader          = "X-Keysteward-Age-Ms"
)

// barrierTimeout bounds how long a read waits for the leader to be confirmed.
const barrierTimeout = 10 * time.Second

// settle makes sure that this node can answer the call, and gives a read its state.
func (s *Server) settle(c *call, p place) error {
	switch p {
	case onLeader:
		if !s.node.Leads() {
			return node.ErrNotLeader
		}
		return nil
	case reads:
		return s.read(c, "linearizable")
	case staleReads:
		return s.read(c, "stale")
	case here:
		s.readStale(c)
		return nil
	case aside:
		return nil
	}
	return errors.New("the route has no place")
}

func (s *Server) read(c *call, byDefault string) error {
	consistency := byDefault
	if c.query.Has(consistencyParam) {
		consistency = c.query.Get(consistencyParam)
	}
	switch consistency {
	case "stale":
		s.readStale(c)
		return nil
	case "linearizable":
		if err := s.barrier(c.ctx()); err != nil {
			return err
		}
		s.use(c, s.node.View(), 0)
		return nil
	}
	return badField(consistencyParam, "%s is neither linearizable nor stale", told(consistency))
}

// readStale takes the age before the state, so the state is never older than told.
func (s *Server) readStale(c *call) {
	age := int64(-1)
	if contact := s.node.LastContact(); contact >= 0 {
		age = contact.Milliseconds()
	}
	s.use(c, s.node.View(), age)
}

func (s *Server) use(c *call, view *fsm.View, ageMs int64) {
	c.reading = reading{view: view, ageMs: ageMs, caller: c.caller}
	h := c.echo.Response().Header()
	h.Set(appliedIndexHeader, strconv.FormatUint(view.Meta().GetAppliedIndex(), 10))
	h.Set(ageHeader, strconv.FormatInt(ageMs, 10))
}

// barrier confirms leadership within a bound.
func (s *Server) barrier(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, barrierTimeout)
	defer cancel()
	err := s.node.Barrier(bounded)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return newProblem(noLeader, "this node could not confirm within %s that it leads", barrierTimeout)
	}
	return err //nolint:wrapcheck // problem.go decides what it is
}

// elsewhere is the answer of a node that does not lead.
func (s *Server) elsewhere(r *http.Request) *problem {
	st := s.node.Status()
	switch {
	case st.LeaderID == "" && st.ElectedID != "" && !st.IsLeader:
		return newProblem(noLeader, "node %s was elected but has no session; /readyz there says why", st.ElectedID)
	case st.IsLeader || st.LeaderID == "" || st.LeaderID == st.NodeID:
		return newProblem(noLeader, "no leader is ready at the moment")
	case st.LeaderAPI == "":
		return newProblem(noLeader, "node %s leads and has not told its URL yet", st.LeaderID)
	}
	p := newProblem(notLeader, "node %s leads", st.LeaderID)
	p.location = st.LeaderAPI + r.URL.RequestURI()
	return p
}

// signed brings a number of the state into the range of the API's.
func signed(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
