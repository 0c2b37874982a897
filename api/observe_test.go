package api

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/keysteward/keysteward/api/wire"
)

// line is the line of the log about the request with this ID.
func (h *harness) line(what, id string) string {
	h.Helper()
	for text := range strings.Lines(h.log.String()) {
		if strings.Contains(text, "msg="+what) && strings.Contains(text, "request_id="+id+" ") {
			return text
		}
	}
	require.Fail(h, "no line", "%s %s in\n%s", what, id, h.log)
	return ""
}

func TestAccessLog(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.post(bodyOfPod("web-0"), "", header("X-Request-Id", "r1"))
	line := h.line("request", "r1")
	for _, part := range []string{"level=INFO", "method=POST", "route=/v1/allocations", "code=202", "took=", "caller=the-operator"} {
		require.Contains(t, line, part)
	}
	h.get("/v1/keys/0x12?token=geheim", header("X-Request-Id", "r2"))
	require.Contains(t, h.line("request", "r2"), "route=/v1/keys/{pubkey} code=400")
	h.do("", http.MethodGet, "/v1/keys", "", header("X-Request-Id", "r3"))
	require.Contains(t, h.line("request", "r3"), `code=401`)
	require.Contains(t, h.line(`"refused a caller"`, "r3"), "why=no-credentials")
	h.do("", http.MethodGet, "/livez", "", header("X-Request-Id", "r4"))
	require.Contains(t, h.line("request", "r4"), "level=DEBUG", "probes come all the time")
	require.NotContains(t, h.log.String(), "geheim")
	require.NotContains(t, h.log.String(), "0x12")
}

func TestRequestLevel(t *testing.T) {
	t.Parallel()
	h := seeded(t, func(c *Config) { c.RequestLevel = slog.LevelDebug })
	h.post(bodyOfPod("web-0"), "", header("X-Request-Id", "r1"))
	require.Contains(t, h.line("request", "r1"), "level=DEBUG")
}

func TestSpanOfARequest(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	h := seeded(t, func(c *Config) {
		c.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
	})
	h.post(bodyOfPod("web-0"), "", header("X-Request-Id", "r1"), header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
	require.Len(t, spans.Ended(), 1)
	span := spans.Ended()[0]
	require.Equal(t, "POST /v1/allocations", span.Name())
	require.Equal(t, trace.SpanKindServer, span.SpanKind())
	require.Equal(t, "0af7651916cd43dd8448eb211c80319c", span.SpanContext().TraceID().String())
	require.Equal(t, "b7ad6b7169203331", span.Parent().SpanID().String())
	told := map[string]string{}
	for _, a := range span.Attributes() {
		told[string(a.Key)] = a.Value.String()
	}
	require.Equal(t, map[string]string{
		"http.request.method": "POST", "http.route": "/v1/allocations", "http.response.status_code": "202",
		"keysteward.request_id": "r1", "keysteward.caller": "the-operator",
	}, told)
	require.Contains(t, h.line("request", "r1"), "trace_id=0af7651916cd43dd8448eb211c80319c")

	h.get("/v1/keys", header("traceparent", "nonsense"))
	require.Len(t, spans.Ended(), 2)
	require.False(t, spans.Ended()[1].Parent().IsValid())
	h.do("", http.MethodGet, "/livez", "")
	h.get("/metrics")
	require.Len(t, spans.Ended(), 2, "probes and scrapers are not traced")
	h.do("", http.MethodGet, "/v1/made-up", "")
	require.Len(t, spans.Ended(), 2, "nor is what has no route")
}

func TestProfiles(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.remote = "127.0.0.1:1"
	require.Equal(t, http.StatusUnauthorized, h.do("", http.MethodGet, "/debug/pprof/", "").Code, "on loopback too")
	require.Equal(t, http.StatusForbidden, h.do(RoleOperator, http.MethodGet, "/debug/pprof/heap", "").Code)
	require.Contains(t, h.do(RoleAdmin, http.MethodGet, "/debug/pprof/", "").Body.String(), "goroutine?debug=1")
	require.Contains(t, h.do(RoleAdmin, http.MethodGet, "/debug/pprof/goroutine?debug=1", "").Body.String(), "goroutine profile:")
	w := h.do(RoleAdmin, http.MethodGet, "/debug/pprof/heap", "")
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, []byte{0x1f, 0x8b}, w.Body.Bytes()[:2], "compressed, as pprof takes it")
	for path, status := range map[string]int{
		"cmdline": http.StatusNotFound, "nonsense": http.StatusNotFound, "heap?seconds=1": http.StatusBadRequest,
		"profile?seconds=0": http.StatusBadRequest, "profile?seconds=61": http.StatusBadRequest, "trace?seconds=x": http.StatusBadRequest,
	} {
		require.Equal(t, status, h.do(RoleAdmin, http.MethodGet, "/debug/pprof/"+path, "").Code, path)
	}
	h.server.profiling <- struct{}{}
	require.Equal(t, http.StatusServiceUnavailable, h.do(RoleAdmin, http.MethodGet, "/debug/pprof/profile", "").Code)
	<-h.server.profiling
}

func bodyOfPod(pod string) wire.AllocationRequest {
	return wire.AllocationRequest{Namespace: "default", Pod: pod, PodUID: "u-1", Keys: 1}
}
