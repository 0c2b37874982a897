package client

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/propagation"
)

// seenHeaders are what servers were sent.
type seenHeaders struct {
	mu   sync.Mutex
	list []http.Header
}

func (s *seenHeaders) note(r *http.Request) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, r.Header.Clone())
	return len(s.list)
}

// A call has one ID, however often it is repeated and wherever it is sent on to.
func TestRequestIDStays(t *testing.T) {
	t.Parallel()
	var seen seenHeaders
	leader := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := seen.note(r); n < 4 { // it is not ready yet
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(`{"clusterId":"c"}`))
	}))
	t.Cleanup(leader.Close)
	follower := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.note(r)
		w.Header().Set("Location", leader.URL+r.URL.Path)
		w.WriteHeader(http.StatusTemporaryRedirect)
	}))
	t.Cleanup(follower.Close)
	c, err := New(Config{Servers: []string{follower.URL, leader.URL}, BackoffMin: 1, BackoffMax: 1})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ctx := propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{"traceparent": parent})
	ask := func() []http.Header {
		_, err := c.do(ctx, call{method: http.MethodGet, path: "/v1/cluster", query: url.Values{}, patient: true, trouble: func(error) {}})
		require.NoError(t, err)
		seen.mu.Lock()
		defer seen.mu.Unlock()
		list := seen.list
		seen.list = nil
		return list
	}
	first := ask()
	require.GreaterOrEqual(t, len(first), 4)
	id := first[0].Get("X-Request-Id")
	require.Regexp(t, `^[A-Za-z0-9._-]{1,64}$`, id, "as the servers take it")
	for _, h := range first {
		require.Equal(t, id, h.Get("X-Request-Id"))
		require.Equal(t, parent, h.Get("Traceparent"))
	}
	require.NotEqual(t, id, ask()[0].Get("X-Request-Id"), "another call")
	ctx = WithRequestID(t.Context(), "mine")
	last := ask()[0]
	require.Equal(t, "mine", last.Get("X-Request-Id"))
	require.Empty(t, last.Get("Traceparent"), "no trace, no header")
}
