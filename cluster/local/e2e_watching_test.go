package local

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// receiver takes traces, OTLP over HTTP as protobuf.
type receiver struct {
	*httptest.Server

	mu    sync.Mutex
	spans []*tracepb.Span
	nodes map[string]bool // service.instance.id of who sends
	wrong []string
	raw   []byte // all that was sent
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{nodes: map[string]bool{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.take))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) take(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	// On the wire ExportTraceServiceRequest is what TracesData is.
	var got tracepb.TracesData
	if err == nil {
		err = proto.Unmarshal(body, &got)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.raw = append(r.raw, body...)
	if err != nil || request.Method != http.MethodPost || request.URL.Path != "/v1/traces" || request.Header.Get("Content-Type") != "application/x-protobuf" {
		r.wrong = append(r.wrong, fmt.Sprint(request.Method, request.URL, request.Header, err))
	}
	for _, resource := range got.GetResourceSpans() {
		for _, a := range resource.GetResource().GetAttributes() {
			if a.GetKey() == "service.instance.id" {
				r.nodes[a.GetValue().GetStringValue()] = true
			}
		}
		for _, scope := range resource.GetScopeSpans() {
			r.spans = append(r.spans, scope.GetSpans()...)
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// trace are the spans of a trace by their names.
func (r *receiver) trace(id string) map[string][]*tracepb.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := map[string][]*tracepb.Span{}
	for _, s := range r.spans {
		if hex.EncodeToString(s.GetTraceId()) == id {
			list[s.GetName()] = append(list[s.GetName()], s)
		}
	}
	return list
}

func told(s *tracepb.Span, key string) string {
	for _, a := range s.GetAttributes() {
		if a.GetKey() == key {
			return a.GetValue().GetStringValue()
		}
	}
	return ""
}

// By one trace, and by one ID in the log, what a client asked is followed from its request
// through the commit to the transactions that were signed and sent for it.
func TestRequestIsFollowedToItsDeposits(t *testing.T) {
	t.Parallel()
	traces := newReceiver(t)
	l := newLauncher(t, 3, func(l *launcher) {
		l.site.more = func(int) []string { return []string{"--otlp-endpoint", traces.URL, "--log-requests", "info"} }
		l.site.env = []string{"OTEL_BSP_SCHEDULE_DELAY=100"}
	})
	require.NoError(t, l.startNodes(t.Context()))
	require.NoError(t, l.initSeed(t.Context()))

	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	_, out := l.site.example(0)
	traced := func(trace string, args ...string) {
		cmd := command(t.Context(), l.binary, args)
		cmd.Env = append(cmd.Env, "TRACEPARENT=00-"+trace+"-"+parent+"-01")
		text, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", text)
	}
	traced(trace, l.site.clientArgs(l.site.tokens.Operator, "allocate", "--pod", "validator-0", "--keys", "2", "--out", out, "--layout", "lighthouse")...)
	const reading = "1af7651916cd43dd8448eb211c80319c"
	traced(reading, l.site.clientArgs(l.site.tokens.Viewer, "keys", "list")...)
	require.Eventually(t, func() bool {
		got := traces.trace(reading)
		return len(got["barrier"]) > 0 && len(got["GET /v1/keys"]) > 0
	}, patience, 50*time.Millisecond, "a linearizable read is not traced")

	var got map[string][]*tracepb.Span
	require.Eventually(t, func() bool {
		got = traces.trace(trace)
		return len(got["deposit sent"]) >= 2 && len(got["POST /v1/allocations"]) >= 2
	}, patience, 50*time.Millisecond, "the trace is not whole: %v", &got)
	requireOneTrace(t, got, parent)
	id := told(got["deposit signed"][0], "keysteward.request_id")
	for name := range got {
		for _, s := range got[name] {
			if of := told(s, "keysteward.request_id"); of != "" {
				require.Equal(t, id, of, "%s: all of the command has one ID", name)
			}
		}
	}
	requireOneGrep(t, l, id, trace)
	require.NoError(t, l.down())
	require.NotEmpty(t, traces.nodes)
	for node := range traces.nodes {
		require.Contains(t, []string{"n1", "n2", "n3"}, node)
	}
	require.Empty(t, traces.wrong)
}

// requireOneTrace holds if the spans hang together from the client's on.
func requireOneTrace(t *testing.T, got map[string][]*tracepb.Span, parent string) {
	t.Helper()
	byID := map[string]*tracepb.Span{}
	for _, list := range got {
		for _, s := range list {
			byID[string(s.GetSpanId())] = s
		}
	}
	path := func(s *tracepb.Span) (names []string) {
		for s != nil {
			names = append(names, s.GetName())
			if hex.EncodeToString(s.GetParentSpanId()) == parent {
				return append(names, "client")
			}
			s = byID[string(s.GetParentSpanId())]
		}
		return names
	}
	for _, name := range []string{"deposit signed", "deposit sent", "queue", "commit", "apply"} {
		require.NotEmpty(t, got[name], name)
		require.Equal(t, []string{name, "propose", "POST /v1/allocations", "client"}, path(got[name][0]))
	}
	require.Len(t, got["deposit signed"], 2, "one for each deposit")
	for _, s := range got["commit"] {
		require.LessOrEqual(t, s.GetStartTimeUnixNano(), s.GetEndTimeUnixNano())
	}
}

// requireOneGrep holds if the logs tell of the request, its command and its deposits
// under one ID.
func requireOneGrep(t *testing.T, l *launcher, id, trace string) {
	t.Helper()
	require.NotEmpty(t, id)
	var found []string
	for i := range l.site.ports.API {
		text, err := os.ReadFile(filepath.Clean(l.site.log(i)))
		require.NoError(t, err)
		for line := range bytes.Lines(text) {
			if bytes.Contains(line, []byte("request_id="+id)) {
				found = append(found, string(line))
			}
		}
	}
	all := strings.Join(found, "")
	for _, part := range []string{
		"msg=request request_id=" + id + " method=POST route=/v1/allocations code=202", "msg=command kind=allocate request_id=" + id + " outcome=done",
		`msg="deposit signed for a request"`, `msg="deposit sent for a request"`, "trace_id=" + trace, "code=200",
	} {
		require.Contains(t, all, part)
	}
	require.Regexp(t, `msg=command kind=allocate .* session=\d+ took=\S+ index=\d+ term=\d+`, all)
}
