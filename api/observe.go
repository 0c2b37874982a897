package api

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/keysteward/keysteward/node/tracing"
)

const callerKey = "keysteward.caller"

// observe measures, traces and logs the request. It sends the answer for an error
// itself, so that it knows the status.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(e echo.Context) error {
		start := time.Now()
		span := s.beginSpan(e)
		if err := next(e); err != nil {
			s.fail(err, e)
		}
		took := time.Since(start)
		s.metrics.request(e, took)
		s.logRequest(e, took)
		endSpan(e, span)
		return nil
	}
}

// logRequest writes the access log. Neither path nor query are told: they name what
// the caller asked for, or what does not belong there, such as a token.
func (s *Server) logRequest(e echo.Context, took time.Duration) {
	request, r := e.Request(), routeOf(e)
	level := s.cfg.RequestLevel
	if r.runs == aside {
		level = min(level, slog.LevelDebug) // probes and scrapers come all the time
	}
	if !s.log.Enabled(request.Context(), level) {
		return
	}
	caller, _ := e.Get(callerKey).(string)
	attributes := []slog.Attr{
		slog.String("request_id", requestID(e)), slog.String("method", r.method), slog.String("route", r.path),
		slog.Int("code", e.Response().Status), slog.Duration("took", took), slog.String("caller", caller),
	}
	if id := tracing.TraceID(request.Context()); id != "" {
		attributes = append(attributes, slog.String("trace_id", id))
	}
	s.log.LogAttrs(request.Context(), level, "request", attributes...)
}

// beginSpan begins the span of a request, in the trace of its header traceparent if it
// has one; nil if there is to be none. Probes and scrapers are not traced.
func (s *Server) beginSpan(e echo.Context) trace.Span {
	request := e.Request()
	if s.cfg.Tracer == nil || !strings.HasPrefix(e.Path(), "/v") {
		return nil
	}
	ctx, span := s.cfg.Tracer.Start(tracing.Accept(request.Context(), request.Header), "HTTP", trace.WithSpanKind(trace.SpanKindServer))
	e.SetRequest(request.WithContext(ctx))
	return span
}

// endSpan names the span by what the request turned out to be, as OpenTelemetry's
// conventions for HTTP have it.
func endSpan(e echo.Context, span trace.Span) {
	if span == nil {
		return
	}
	r, status := routeOf(e), e.Response().Status
	span.SetName(r.method + " " + r.path)
	span.SetAttributes(
		attribute.String("http.request.method", r.method), attribute.String("http.route", r.path),
		attribute.Int("http.response.status_code", status), attribute.String("keysteward.request_id", requestID(e)),
	)
	if caller, _ := e.Get(callerKey).(string); caller != "" {
		span.SetAttributes(attribute.String("keysteward.caller", caller))
	}
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, http.StatusText(status))
	}
	span.End()
}
