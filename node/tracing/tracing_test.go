package tracing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

func env(of map[string]string) func(string) string {
	return func(name string) string { return of[name] }
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		endpoint string
		env      map[string]string
		url      string // empty is off
		fails    string
	}{
		"nothing":             {},
		"flag":                {endpoint: "http://r:4318", url: "http://r:4318/v1/traces"},
		"flag with a path":    {endpoint: "https://r/otlp/", url: "https://r/otlp/v1/traces"},
		"variable":            {env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://e:4318"}, url: "http://e:4318/v1/traces"},
		"variable for traces": {env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://e", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/x"}, url: "http://t/x"},
		"flag before all":     {endpoint: "http://r", env: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/x"}, url: "http://r/v1/traces"},
		"switched off":        {endpoint: "http://r", env: map[string]string{"OTEL_SDK_DISABLED": "TRUE"}},
		"no exporter":         {endpoint: "http://r", env: map[string]string{"OTEL_TRACES_EXPORTER": "none"}},
		"no URL":              {endpoint: "r:4318", fails: "http or https URL"},
		"password in no URL":  {endpoint: "ftp://u:geheim@r", fails: "http or https URL"},
		"another protocol":    {endpoint: "http://r", env: map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, fails: "only http/protobuf"},
		"this protocol":       {endpoint: "http://r", env: map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, url: "http://r/v1/traces"},
		"no time":             {endpoint: "http://r", env: map[string]string{"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}, fails: "want milliseconds"},
		"no headers":          {endpoint: "http://r", env: map[string]string{"OTEL_EXPORTER_OTLP_HEADERS": "geheim"}, fails: "want NAME=VALUE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := readSettings(c.endpoint, env(c.env))
			if c.fails != "" {
				require.ErrorIs(t, err, ErrConfig)
				require.ErrorContains(t, err, c.fails)
				require.NotContains(t, err.Error(), "geheim")
				return
			}
			require.NoError(t, err)
			if c.url == "" {
				require.Nil(t, s)
				return
			}
			require.Equal(t, c.url, s.url)
		})
	}
	s, err := readSettings("http://r", env(map[string]string{"OTEL_EXPORTER_OTLP_HEADERS": "a=b%20c, x-key = 1=2,", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "250"}))
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": "b c", "x-key": "1=2"}, s.headers)
	require.Equal(t, 250*time.Millisecond, s.timeout)
}

// receiver takes what is sent; answers are its statuses in order, then 200.
type receiver struct {
	mu      sync.Mutex
	answers []int
	asked   int
	header  http.Header
	got     []*tracepb.TracesData
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	if len(r.answers) > 0 {
		status := r.answers[0]
		r.answers = r.answers[1:]
		if status == http.StatusTemporaryRedirect {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
		return
	}
	data := &tracepb.TracesData{}
	if err != nil || proto.Unmarshal(body, data) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.header, r.got = request.Header.Clone(), append(r.got, data)
}

func start(t *testing.T, r *receiver, log io.Writer) *Tracing {
	t.Helper()
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	made, err := New(t.Context(), Config{
		Endpoint: server.URL, Version: "v1", Node: "n1", Logger: slog.New(slog.NewTextHandler(log, nil)),
		Env: env(map[string]string{"OTEL_EXPORTER_OTLP_HEADERS": "x-key=geheim"}),
	})
	require.NoError(t, err)
	return made
}

func stop(t *testing.T, made *Tracing) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	require.NoError(t, made.Stop(ctx))
}

func TestSpansArrive(t *testing.T) {
	t.Parallel()
	r := &receiver{}
	made := start(t, r, io.Discard)
	tracer := made.Tracer()
	ctx, root := tracer.Start(t.Context(), "request", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("s", "text"), attribute.Int64("i", 7), attribute.Bool("b", true), attribute.Float64("f", 0.5), attribute.StringSlice("l", []string{"a"}),
	))
	_, child := Continue(ctx, tracer, "commit", trace.WithLinks(trace.LinkFromContext(ctx)))
	child.AddEvent("seen")
	End(child, errors.New("geheim"), "unknown")
	root.End()
	stop(t, made)

	require.Len(t, r.got, 1)
	require.Equal(t, "application/x-protobuf", r.header.Get("Content-Type"))
	require.Equal(t, "geheim", r.header.Get("X-Key"))
	resource := r.got[0].GetResourceSpans()[0]
	require.Contains(t, fmt.Sprint(resource.GetResource()), "keysteward")
	require.Contains(t, fmt.Sprint(resource.GetResource()), "n1")
	require.Len(t, resource.GetScopeSpans(), 1)
	spans := resource.GetScopeSpans()[0].GetSpans()
	require.Len(t, spans, 2)
	commit, request := spans[0], spans[1]
	require.Equal(t, request.GetTraceId(), commit.GetTraceId())
	require.Equal(t, request.GetSpanId(), commit.GetParentSpanId())
	require.Equal(t, request.GetSpanId(), commit.GetLinks()[0].GetSpanId())
	require.Empty(t, request.GetParentSpanId())
	require.Equal(t, tracepb.Span_SPAN_KIND_SERVER, request.GetKind())
	require.Len(t, request.GetAttributes(), 5)
	require.Equal(t, int64(7), request.GetAttributes()[1].GetValue().GetIntValue())
	require.Equal(t, "seen", commit.GetEvents()[0].GetName())
	require.Equal(t, tracepb.Status_STATUS_CODE_ERROR, commit.GetStatus().GetCode())
	require.Equal(t, "unknown", commit.GetStatus().GetMessage())
	require.NotContains(t, fmt.Sprint(r.got[0]), "geheim", "an error's text was told")
	require.LessOrEqual(t, request.GetStartTimeUnixNano(), commit.GetStartTimeUnixNano())
	require.NotZero(t, commit.GetEndTimeUnixNano())
	require.InDelta(t, 2, testutil.ToFloat64(made.exporter.spans.WithLabelValues("sent")), 0)
}

// What the receiver can not take now is tried again, what it refuses is not; either way
// a person is told, once, and nothing of the headers.
func TestReceiverInTrouble(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answers []int
		asked   int
		lost    bool
	}{
		"busy for a moment": {[]int{http.StatusServiceUnavailable}, 2, false},
		"refuses":           {[]int{http.StatusUnauthorized}, 1, true},
		"sends elsewhere":   {[]int{http.StatusTemporaryRedirect}, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, log := &receiver{answers: c.answers}, &bytes.Buffer{}
			made := start(t, r, log)
			_, span := made.Tracer().Start(t.Context(), "x")
			span.End()
			stop(t, made)
			require.Equal(t, c.asked, r.asked)
			require.Equal(t, c.lost, strings.Contains(log.String(), "does not take spans"), log)
			require.NotContains(t, log.String(), "geheim")
			result := "sent"
			if c.lost {
				result = "lost"
			}
			require.InDelta(t, 1, testutil.ToFloat64(made.exporter.spans.WithLabelValues(result)), 0)
		})
	}
}

// A receiver that is away does not keep a process from its end.
func TestStopIsBounded(t *testing.T) {
	t.Parallel()
	made, err := New(t.Context(), Config{Endpoint: "http://127.0.0.1:1", Logger: slog.New(slog.DiscardHandler), Env: env(nil)})
	require.NoError(t, err)
	_, span := made.Tracer().Start(t.Context(), "x")
	span.End()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_ = made.Stop(ctx)
	require.Less(t, time.Since(began), 5*time.Second)
}

func TestOff(t *testing.T) {
	t.Parallel()
	made, err := New(t.Context(), Config{Env: env(nil)})
	require.NoError(t, err)
	require.Nil(t, made.Tracer())
	registry := prometheus.NewRegistry()
	require.NoError(t, made.Register(registry))
	require.NoError(t, made.Stop(t.Context()))
	ctx, span := Continue(t.Context(), made.Tracer(), "x")
	require.Equal(t, t.Context(), ctx)
	require.False(t, span.IsRecording())
	End(span, nil, "")
}

func TestOffAllocatesNothing(t *testing.T) { //nolint:paralleltest // allocations are counted
	ctx := t.Context()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_, span := Continue(ctx, nil, "x")
		span.End()
	}))
}

// What nobody asked for begins no trace.
func TestContinueBeginsNone(t *testing.T) {
	t.Parallel()
	r := &receiver{}
	made := start(t, r, io.Discard)
	_, span := Continue(t.Context(), made.Tracer(), "tick")
	require.False(t, span.IsRecording())
	span.End()
	ctx := Accept(t.Context(), http.Header{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}})
	require.Equal(t, "0af7651916cd43dd8448eb211c80319c", TraceID(ctx))
	require.Empty(t, TraceID(t.Context()))
	_, span = Continue(ctx, made.Tracer(), "request")
	require.True(t, span.IsRecording())
	span.End()
	stop(t, made)
	require.Len(t, r.got, 1)
}

func TestRetriesEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		e, err := newExporter(&settings{url: "http://r/v1/traces", timeout: time.Second}, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		e.client.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
			asked++
			return &http.Response{StatusCode: http.StatusServiceUnavailable, Status: "503", Header: http.Header{"Retry-After": {"3600"}}, Body: http.NoBody}, nil
		})
		began := time.Now()
		require.Error(t, e.deliver(t.Context(), nil))
		require.Equal(t, tries, asked)
		require.Equal(t, 3*maxPause, time.Since(began), "a receiver does not say how long we wait")
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestOrigins(t *testing.T) {
	t.Parallel()
	o := NewOrigins()
	require.Zero(t, o.Of(Pod("a/b")))
	o.Note(Pod("a/b"), Origin{RequestID: "r1"})
	o.Note(Cloud("p", "c"), Origin{RequestID: "r2"})
	o.Note(Pod("a/b"), Origin{RequestID: "r3"})
	require.Equal(t, "r3", o.Of(Pod("a/b")).RequestID, "the last that asked")
	require.Equal(t, "r2", o.Of(Cloud("p", "c")).RequestID)
	for i := range mostOrigins - 1 {
		o.Note(Pod(fmt.Sprint("x/", i)), Origin{RequestID: "r"})
	}
	require.Zero(t, o.Of(Pod("a/b")), "the oldest is forgotten")
	require.Equal(t, "r2", o.Of(Cloud("p", "c")).RequestID)
	require.LessOrEqual(t, len(o.known), mostOrigins)
	require.Equal(t, t.Context(), Origin{RequestID: "r"}.Context(t.Context()), "which was not traced")
	var none *Origins
	none.Note("x", Origin{RequestID: "r"})
	require.Zero(t, none.Of("x"))
}
