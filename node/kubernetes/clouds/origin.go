package clouds

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/keysteward/keysteward/node/tracing"
)

// origin is the request that a lane works for, as far as this leader heard it. A certificate
// that is renewed is nobody's request.
func (l *lane) origin() tracing.Origin {
	_, row, _ := l.worker.row(l.key.rowKey)
	if l.key.kind == laneCertificate && row.GetPem() != "" {
		return tracing.Origin{}
	}
	return l.worker.cfg.Origins.Of(tracing.Cloud(l.key.project, l.key.cloud))
}

// begin begins a span of something that is done in the cluster, in the trace of the request
// behind it, if there is one.
func (l *lane) begin(ctx context.Context, name string) (context.Context, trace.Span) {
	if l.worker.cfg.Tracer == nil {
		return tracing.Continue(ctx, nil, name)
	}
	origin := l.origin()
	if !trace.SpanContextFromContext(ctx).IsValid() {
		ctx = origin.Context(ctx)
	}
	return tracing.Continue(ctx, l.worker.cfg.Tracer, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("keysteward.request_id", origin.RequestID), attribute.String("keysteward.certificate", l.key.String()),
		attribute.String("keysteward.cluster", l.worker.key.String()),
	))
}

// told are the arguments of a line of the log by which the request is found.
func (l *lane) told(more ...any) []any {
	list := append([]any{"certificate", l.key.String()}, more...)
	if id := l.origin().RequestID; id != "" {
		list = append(list, "request_id", id)
	}
	return list
}
