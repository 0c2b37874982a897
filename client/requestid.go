package client

import (
	"context"
	"crypto/rand"
	"net/http"

	"go.opentelemetry.io/otel/propagation"
)

type requestIDKey struct{}

// WithRequestID has every request that is sent in the context bear this ID (1 to 64 of A-Z a-z 0-9 .
// _ -), by which the servers' logs, audit records and traces tell of it. Without it each call mints
// one of its own, which it keeps through repetitions and redirects.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

// identified is the context with a request ID, a new one if it has none.
func identified(ctx context.Context) context.Context {
	if requestIDOf(ctx) != "" {
		return ctx
	}
	return WithRequestID(ctx, rand.Text())
}

func requestIDOf(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// trace sets the headers by which a request is followed: its ID, and the trace of the context
// (W3C Trace Context) if there is one.
func trace(ctx context.Context, header http.Header) {
	if id := requestIDOf(ctx); id != "" {
		header.Set("X-Request-Id", id)
	}
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(header))
}
