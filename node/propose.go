package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/failpoint"
	"github.com/keysteward/keysteward/node/tracing"
)

// MaxCommandBytes bounds one encoded command.
const MaxCommandBytes = 1 << 20

const (
	maxBatch       = 256       // commands in one log entry
	maxBatchBytes  = 512 << 10 // of one log entry, unless a single command is larger
	maxInFlight    = 2         // log entries on their way to a quorum: more are smaller, and cost more
	enqueueTimeout = 5 * time.Second
)

// proposal is a command that waits for its outcome.
type proposal struct {
	cmd  []byte       // encoded by the proposer: what can not be encoded spoils nobody else's entry
	done chan outcome // buffered: nobody waits for whoever gave up
}

type outcome struct {
	value any
	err   error
	way   passage // of the log entry, where there was one
}

// Propose has a command agreed on and applied, and returns its value. The
// command's version, session and wall clock are filled in; it belongs to the
// node from then on. The error wraps *fsm.Refusal if the state machine said no,
// [ErrNotLeader], [ErrTooLarge] or the context's error alone if surely nothing
// happened, and [ErrUnknownOutcome] if that can not be told.
func (n *Node) Propose(ctx context.Context, cmd *fsmpb.Command) (any, error) {
	s := n.session.Load()
	if s == nil || n.leaving.Load() {
		return nil, ErrNotLeader
	}
	return s.Propose(ctx, cmd)
}

// Propose is [Node.Propose] in this very session: once it is over, every
// command that was decided in it is refused.
func (s *Session) Propose(ctx context.Context, cmd *fsmpb.Command) (any, error) {
	began := time.Now()
	ctx, span := tracing.Continue(ctx, s.node.cfg.Tracer, "propose")
	o := s.propose(ctx, cmd)
	s.proposed(ctx, span, cmd, began, o)
	return o.value, o.err
}

func (s *Session) propose(ctx context.Context, cmd *fsmpb.Command) outcome {
	cmd.Version, cmd.Session, cmd.WallMs = fsm.CommandVersion, s.term, failpoint.Now().UnixMilli()
	if size := proto.Size(cmd); size > MaxCommandBytes {
		return outcome{err: fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, size, MaxCommandBytes)}
	}
	if err := s.node.View().Accepts(cmd); err != nil {
		return outcome{err: fmt.Errorf("refused: %w", err)}
	}
	encoded, err := proto.Marshal(cmd)
	if err != nil {
		return outcome{err: fmt.Errorf("encode command: %w", err)}
	}
	p := &proposal{cmd: encoded, done: make(chan outcome, 1)}
	select {
	case s.queue <- p:
	case <-s.done:
		return outcome{err: ErrNotLeader}
	case <-ctx.Done():
		return outcome{err: fmt.Errorf("nothing was proposed: %w", ctx.Err())}
	}
	select { // the coalescer answers what it took, also when the session ends
	case o := <-p.done:
		return o
	case <-ctx.Done():
		return outcome{err: fmt.Errorf("%w: %w", ErrUnknownOutcome, ctx.Err())}
	}
}

// coalesce turns the commands that wait together into one log entry, keeps two entries on
// their way, and ends with the session.
func (s *Session) coalesce(ctx context.Context) {
	slots := make(chan struct{}, maxInFlight)
	defer func() {
		for range maxInFlight { // wait for the entries that are on their way
			slots <- struct{}{}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case slots <- struct{}{}:
		}
		select {
		case <-ctx.Done():
			<-slots
			return
		case first := <-s.queue:
			batch := s.gather(first)
			enqueued := time.Now()
			future := s.enqueue(batch)
			go func() { // ended by its future, and waited for through its slot
				defer func() { <-slots }()
				s.node.metrics.entry(len(batch), deliver(batch, future, enqueued))
			}()
		}
	}
}

// gather takes the commands that wait at this moment.
func (s *Session) gather(first *proposal) []*proposal {
	batch, size := []*proposal{first}, len(first.cmd)
	for len(batch) < maxBatch && size < maxBatchBytes {
		select {
		case p := <-s.queue:
			batch, size = append(batch, p), size+len(p.cmd)
		default:
			return batch
		}
	}
	return batch
}

// PointEnqueue is where commands were taken in a session, and are not handed to Raft. Fault tests
// hold a leader there until it has lost its office, and has it again.
const PointEnqueue failpoint.Name = "enqueue"

// enqueue hands an encoded [fsmpb.Batch] to Raft.
func (s *Session) enqueue(batch []*proposal) raft.ApplyFuture {
	var entry []byte
	for _, p := range batch {
		entry = protowire.AppendTag(entry, batchCommands, protowire.BytesType)
		entry = protowire.AppendBytes(entry, p.cmd)
	}
	failpoint.Reach(PointEnqueue)
	failpoint.Hand()
	return s.node.raft.Apply(entry, enqueueTimeout)
}

// batchCommands is the number of the field commands of fsmpb.Batch.
const batchCommands protowire.Number = 1

// deliver waits for the log entry and answers its proposals.
func deliver(batch []*proposal, future raft.ApplyFuture, enqueued time.Time) passage {
	results, err := applied(future, len(batch))
	way := passed(future, enqueued)
	for i, p := range batch {
		if err != nil {
			p.done <- outcome{err: err, way: way}
			continue
		}
		p.done <- outcome{value: results[i].Value, err: refused(results[i].Refusal), way: way}
	}
	return way
}

func refused(r *fsm.Refusal) error {
	switch {
	case r == nil:
		return nil
	case r.Code == fsm.StaleSession: // the leadership ended before the command was written
		return fmt.Errorf("%w: %w", ErrNotLeader, r)
	default:
		return fmt.Errorf("refused: %w", r)
	}
}

// applied classifies what Raft says: only these errors mean that the entry was
// surely not written.
func applied(future raft.ApplyFuture, want int) ([]fsm.Result, error) {
	err := future.Error()
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout),
		errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return nil, fmt.Errorf("%w: %w", ErrNotLeader, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	entry, ok := future.Response().(appliedEntry)
	if !ok || len(entry.results) != want {
		return nil, fmt.Errorf("%w: answer of type %T", ErrUnknownOutcome, future.Response())
	}
	return entry.results, nil
}
