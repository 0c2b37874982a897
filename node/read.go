package node

import (
	"context"
	"fmt"
	"time"

	"github.com/keysteward/keysteward/node/failpoint"
	"github.com/keysteward/keysteward/node/tracing"
)

// Barrier returns once everything that was committed before the call is applied
// here, so that a View taken afterwards is linearizable. All callers that wait
// at one moment share one log entry. The error wraps [ErrNotLeader] if this
// node does not lead.
func (n *Node) Barrier(ctx context.Context) error {
	began := time.Now()
	ctx, span := tracing.Continue(ctx, n.cfg.Tracer, "barrier")
	err := n.barrier(ctx)
	n.metrics.barrierTook.Observe(time.Since(began).Seconds())
	tracing.End(span, err, "no barrier")
	return err
}

func (n *Node) barrier(ctx context.Context) error {
	s := n.session.Load()
	if s == nil {
		return ErrNotLeader
	}
	answer := make(chan error, 1)
	select {
	case s.readers <- answer:
	case <-s.done:
		return ErrNotLeader
	case <-ctx.Done():
		return fmt.Errorf("barrier: %w", ctx.Err())
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("barrier: %w", ctx.Err())
	}
}

// serveReaders runs one barrier after the other, each for those who came
// before it began.
func (s *Session) serveReaders(ctx context.Context) {
	for {
		var waiting []chan error
		select {
		case <-ctx.Done():
			return
		case r := <-s.readers:
			waiting = append(waiting, r)
		}
		for more := true; more; {
			select {
			case r := <-s.readers:
				waiting = append(waiting, r)
			default:
				more = false
			}
		}
		err := s.barrier()
		for _, r := range waiting {
			r <- err
		}
	}
}

func (s *Session) barrier() error {
	failpoint.Hand()
	err := s.node.raft.Barrier(enqueueTimeout).Error()
	if err == nil && s.node.replica.broken.Load() {
		err = errBroken // not all of the log was applied here
	}
	if err == nil {
		return nil
	}
	// A read that failed had no effect, whatever Raft says.
	return fmt.Errorf("%w: barrier: %w", ErrNotLeader, err)
}
