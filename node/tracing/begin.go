package tracing

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Continue starts a span, which its caller ends, in the trace of the context. Without a tracer or a
// trace it is one that does nothing, and the context is left as it is: what nobody asked for begins
// no trace.
func Continue(ctx context.Context, t trace.Tracer, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	if t == nil || !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx, noop.Span{}
	}
	return t.Start(ctx, name, options...)
}

// End ends a span with what came of it. Of an error the text is not told: it may hold what was sent
// to us.
func End(span trace.Span, err error, reason string) {
	if err != nil && span.IsRecording() {
		span.SetStatus(codes.Error, reason)
	}
	span.End()
}

// Accept continues the trace of a request's header traceparent (W3C Trace Context), if it has one.
func Accept(ctx context.Context, header http.Header) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(header))
}

// TraceID is the ID of the context's trace for a line of the log, empty without one.
func TraceID(ctx context.Context) string {
	if s := trace.SpanContextFromContext(ctx); s.IsValid() {
		return s.TraceID().String()
	}
	return ""
}
