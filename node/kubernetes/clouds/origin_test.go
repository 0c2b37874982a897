package clouds

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/keysteward/keysteward/node/tracing"
)

// journal keeps what is logged.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

// with returns the lines that have those words.
func (j *journal) with(words string) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []string
	for line := range strings.Lines(j.text.String()) {
		if strings.Contains(line, words) {
			found = append(found, line)
		}
	}
	return found
}

// What is done in Kubernetes is found by the request that asked for it, in log and trace.
// A cloud whose request this leader did not hear is done all the same.
func testTraced(t *testing.T, s *scene) {
	t.Helper()
	spans, lines, origins := tracetest.NewSpanRecorder(), &journal{}, tracing.NewOrigins()
	s.cloud("c", []int{0})
	s.cloud("other", []int{0})
	s.instantiate("c", "other")
	of := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{7}, SpanID: trace.SpanID{8}, TraceFlags: trace.FlagsSampled})
	origins.Note(tracing.Cloud(project, "c"), tracing.Origin{RequestID: "r1", Span: of})
	_, stop := s.lead(func(c *Config) {
		c.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
		c.Origins, c.Logger = origins, slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	s.awaitUp("c", "other")
	for _, words := range []string{"certificate signing request approved", "certificate of a logical cloud is stored", "objects of a logical cloud are applied"} {
		// A line is written just after the state tells of what was done.
		require.Eventually(t, func() bool { return len(lines.with(words)) == 2 }, patience, glance, words)
		for _, line := range lines.with(words) {
			require.Equal(t, strings.Contains(line, "/c/"), strings.Contains(line, "request_id=r1"), line)
		}
	}
	stop()
	seen := map[string]bool{}
	for _, span := range spans.Ended() {
		seen[span.Name()] = true
		require.Equal(t, of.TraceID(), span.SpanContext().TraceID(), span.Name())
		require.Equal(t, of.SpanID(), span.Parent().SpanID(), span.Name())
	}
	for _, name := range []string{"certificate request created", "certificate request approved", "certificate stored", "objects applied"} {
		require.True(t, seen[name], "%s: %v", name, seen)
	}
}
