package node

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/tracing"
)

// appliedEntry answers one log entry, and says when it was applied.
type appliedEntry struct {
	results      []fsm.Result
	began, ended time.Time
}

// passage is the way of one log entry, as its leader saw it.
type passage struct {
	index    uint64
	enqueued time.Time // Raft was given the entry
	began    time.Time // a majority has it, and it is applied here; zero if it was not
	ended    time.Time
}

// passed reads the way of an entry that is done.
func passed(future raft.ApplyFuture, enqueued time.Time) passage {
	p := passage{enqueued: enqueued}
	if e, ok := future.Response().(appliedEntry); ok {
		p.index, p.began, p.ended = future.Index(), e.began, e.ended
	}
	return p
}

var commandBody = (*fsmpb.Command)(nil).ProtoReflect().Descriptor().Oneofs().ByName("body")

// kindOf is the name of the command's kind, such as sign_deposits.
func kindOf(cmd *fsmpb.Command) string {
	var f protoreflect.FieldDescriptor
	if cmd != nil {
		f = cmd.ProtoReflect().WhichOneof(commandBody)
	}
	if f == nil {
		return "none"
	}
	return string(f.Name())
}

// Outcomes of commands, as metrics and the log call them.
const (
	outcomeDone    = "done"
	outcomeRefused = "refused"
	outcomeNever   = "not-written"
	outcomeUnknown = "unknown"
)

func outcomeOf(err error) string {
	var refusal *fsm.Refusal
	switch {
	case err == nil:
		return outcomeDone
	case errors.Is(err, ErrUnknownOutcome):
		return outcomeUnknown
	case errors.Is(err, ErrNotLeader):
		return outcomeNever
	case errors.As(err, &refusal):
		return outcomeRefused
	}
	return outcomeNever // too large, or nobody waited until it was taken
}

// proposed tells metrics, log and trace what became of a command.
func (s *Session) proposed(ctx context.Context, span trace.Span, cmd *fsmpb.Command, began time.Time, o outcome) {
	n := s.node
	kind, result, took := kindOf(cmd), outcomeOf(o.err), time.Since(began)
	n.metrics.commands.WithLabelValues(kind, result).Inc()
	n.metrics.commandTook.Observe(took.Seconds())
	n.note(ctx, cmd, o)
	if span.IsRecording() {
		s.trace(ctx, span, cmd, began, o)
		tracing.End(span, o.err, result)
	}
	level := n.cfg.RequestLevel
	if cmd.GetRequestId() == "" {
		level = min(level, slog.LevelDebug) // of a duty, which logs what it does
	}
	if kind == "tick" || !n.log.Enabled(ctx, level) {
		return
	}
	attributes := []slog.Attr{
		slog.String("kind", kind), slog.String("request_id", cmd.GetRequestId()), slog.String("outcome", result),
		slog.Uint64("session", s.term), slog.Duration("took", took),
	}
	if o.way.index > 0 { // the term of what was applied is that of the session
		attributes = append(attributes, slog.Uint64("index", o.way.index), slog.Uint64("term", s.term))
	}
	if id := tracing.TraceID(ctx); id != "" {
		attributes = append(attributes, slog.String("trace_id", id))
	}
	n.log.LogAttrs(ctx, level, "command", attributes...)
}

// trace adds the steps of a command's way to its span: how long it waited for its log
// entry, until a majority had that, and until it was applied.
func (s *Session) trace(ctx context.Context, span trace.Span, cmd *fsmpb.Command, began time.Time, o outcome) {
	span.SetAttributes(
		attribute.String("keysteward.command", kindOf(cmd)), attribute.String("keysteward.request_id", cmd.GetRequestId()),
		attribute.Int64("keysteward.session", int64(s.term)),         //nolint:gosec // terms fit
		attribute.Int64("keysteward.raft_index", int64(o.way.index)), //nolint:gosec // indexes fit
	)
	step := func(name string, from, to time.Time) {
		if from.IsZero() || to.IsZero() {
			return
		}
		_, part := s.node.cfg.Tracer.Start(ctx, name, trace.WithTimestamp(from))
		part.End(trace.WithTimestamp(to))
	}
	step("queue", began, o.way.enqueued)
	step("commit", o.way.enqueued, o.way.began)
	step("apply", o.way.began, o.way.ended)
}

// note remembers for which request this leader's duties will act.
func (n *Node) note(ctx context.Context, cmd *fsmpb.Command, o outcome) {
	object := ""
	switch b := cmd.GetBody().(type) {
	case *fsmpb.Command_Allocate:
		if got, ok := o.value.(fsm.Allocated); ok && got.Request != nil && o.err == nil { // it waits
			object = tracing.Pod(b.Allocate.GetPod().GetNamespace() + "/" + b.Allocate.GetPod().GetName())
		}
	case *fsmpb.Command_ActOnCloud:
		if o.err == nil {
			object = tracing.Cloud(b.ActOnCloud.GetProject(), b.ActOnCloud.GetCloud())
		}
	}
	if object == "" || cmd.GetRequestId() == "" {
		return
	}
	n.cfg.Origins.Note(object, tracing.Origin{RequestID: cmd.GetRequestId(), Span: trace.SpanContextFromContext(ctx)})
}
