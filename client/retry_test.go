package client

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
)

func ask(pod string, keys int64) wire.AllocationRequest {
	return wire.AllocationRequest{Namespace: "default", Pod: pod, PodUID: "uid-" + pod, Keys: keys}
}

// failing answers the first n requests to a path with a problem.
func failing(n int32, status int, problemType, retryAfter string) func(int, http.ResponseWriter, *http.Request) bool {
	var count atomic.Int32
	return func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		if count.Add(1) > n {
			return false
		}
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		clienttest.Problem(w, status, problemType, "in words")
		return true
	}
}

func TestRepeatsWhatPasses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		status      int
		problemType string
	}{
		{"no leader", 503, "no-leader"},
		{"outcome unknown", 503, TypeOutcomeUnknown},
		{"overloaded", 429, "overloaded"},
		{"proxy without a server", 502, "about:blank"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cluster := clienttest.Start(t, 1)
			cluster.Intercept = failing(3, test.status, test.problemType, "")
			c, clock := connect(t, cluster)
			a, pending, err := c.Allocate(t.Context(), ask("a", 2), 0)
			require.NoError(t, err)
			require.Nil(t, pending)
			require.Len(t, a.Keys, 2)
			pauses := clock.pauses()
			require.Len(t, pauses, 3)
			for i, pause := range pauses { // 100 ms, doubled, between half of it and all of it
				whole := 100 * time.Millisecond << i
				require.GreaterOrEqual(t, pause, whole/2)
				require.LessOrEqual(t, pause, whole)
			}
		})
	}
}

func TestHonoursRetryAfter(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{"7": 7 * time.Second, "86400": maxRetryAfter} {
		cluster := clienttest.Start(t, 1)
		cluster.Intercept = failing(1, 503, "no-leader", header)
		c, clock := connect(t, cluster, func(config *Config) { config.RetryFor = time.Hour })
		_, err := c.Seed(t.Context())
		require.NoError(t, err)
		require.Equal(t, []time.Duration{want}, clock.pauses())
	}
}

func TestErrorsThatStandAreNotRepeated(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 401, 403, 404, 409, 413, 422, 500} {
		cluster := clienttest.Start(t, 2)
		cluster.Intercept = failing(1, status, "some-type", "")
		c, clock := connect(t, cluster)
		_, err := c.Seed(t.Context())
		p, ok := errors.AsType[*Problem](err)
		require.True(t, ok, "%d: %v", status, err)
		require.Equal(t, Problem{Type: "some-type", Title: http.StatusText(status), Status: status, Detail: "in words", RequestID: "request-1"}, *p)
		require.Empty(t, clock.pauses())
		require.Len(t, cluster.Requests(), 1)
	}
}

func TestGivesUp(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		problemType string
		post        bool
		unknown     bool
	}{
		{"reading", TypeOutcomeUnknown, false, false},
		{"writing, surely not done", "no-leader", true, false},
		{"writing, perhaps done", TypeOutcomeUnknown, true, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cluster := clienttest.Start(t, 1)
			cluster.Intercept = failing(1<<30, 503, test.problemType, "")
			c, clock := connect(t, cluster)
			var err error
			if test.post {
				_, _, err = c.Allocate(t.Context(), ask("a", 1), 0)
			} else {
				_, err = c.Seed(t.Context())
			}
			require.ErrorIs(t, err, ErrUnavailable)
			require.Equal(t, test.unknown, errors.Is(err, ErrOutcomeUnknown))
			var whole time.Duration
			for _, pause := range clock.pauses() {
				whole += pause
			}
			require.LessOrEqual(t, whole, 30*time.Second)
			require.Greater(t, whole, 20*time.Second)
		})
	}
}

func TestOtherServersAreTriedInTurn(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 3)
	cluster.Kill(0)
	cluster.Lead(2)
	c, clock := connect(t, cluster)
	_, _, err := c.Allocate(t.Context(), ask("a", 1), 0)
	require.NoError(t, err)
	require.Empty(t, clock.pauses(), "a living server was asked at once")
}

func TestLearnedMembersAreTriedToo(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 3)
	c, _ := connect(t, cluster, func(config *Config) { config.Servers = config.Servers[:1] })
	_, err := c.Cluster(t.Context())
	require.NoError(t, err)
	cluster.Kill(0)
	cluster.Lead(1)
	_, _, err = c.Allocate(t.Context(), ask("a", 1), 0)
	require.NoError(t, err)
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	cluster.Kill(0)
	c, _ := connect(t, cluster)
	_, _, err := c.Allocate(t.Context(), ask("a", 1), 0)
	require.ErrorIs(t, err, ErrUnavailable)
	require.NotErrorIs(t, err, ErrOutcomeUnknown, "a connection that was never made changes nothing")
	_, err = c.Ready(t.Context())
	require.ErrorIs(t, err, ErrUnavailable)
}

// cut closes the connection of the first n requests of a method after they were carried out.
func cut(cluster *clienttest.Cluster, method string, n int32) {
	var count atomic.Int32
	var again atomic.Bool
	cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.Method != method || again.Load() || count.Add(1) > n {
			return false
		}
		again.Store(true)
		inner, _ := http.NewRequestWithContext(r.Context(), r.Method, cluster.URLs()[0]+r.URL.RequestURI(), r.Body)
		inner.Header = r.Header.Clone()
		response, err := http.DefaultClient.Do(inner)
		if err == nil {
			_ = response.Body.Close()
		}
		http.DefaultClient.CloseIdleConnections()
		again.Store(false)
		panic(http.ErrAbortHandler)
	}
}

func TestLostAnswers(t *testing.T) {
	t.Parallel()
	t.Run("an allocation is asked for again", func(t *testing.T) {
		t.Parallel()
		cluster := clienttest.Start(t, 1)
		cut(cluster, http.MethodPost, 1)
		c, _ := connect(t, cluster)
		a, _, err := c.Allocate(t.Context(), ask("a", 2), 0)
		require.NoError(t, err)
		require.Equal(t, int64(1), a.Fence, "the first request was joined")
	})
	t.Run("a release that was done is done", func(t *testing.T) {
		t.Parallel()
		for _, rests := range []bool{false, true} {
			cluster := clienttest.Start(t, 1)
			cluster.RestOnRelease = rests
			c, _ := connect(t, cluster)
			a, _, err := c.Allocate(t.Context(), ask("a", 1), 0)
			require.NoError(t, err)
			cut(cluster, http.MethodDelete, 1)
			require.NoError(t, c.Release(t.Context(), ReleaseOptions{Namespace: "default", Pod: "a", PodUID: a.PodUID, Fence: a.Fence}))
		}
	})
	t.Run("a release that nobody tried is refused", func(t *testing.T) {
		t.Parallel()
		cluster := clienttest.Start(t, 1)
		c, _ := connect(t, cluster)
		require.True(t, IsType(c.Release(t.Context(), ReleaseOptions{Namespace: "default", Pod: "a", Fence: 1}), TypeNotFound))
		a, _, err := c.Allocate(t.Context(), ask("a", 1), 0)
		require.NoError(t, err)
		require.True(t, IsType(c.Release(t.Context(), ReleaseOptions{Namespace: "default", Pod: "a", Fence: a.Fence + 1}), TypeStaleFence))
	})
	t.Run("never an answer", func(t *testing.T) {
		t.Parallel()
		cluster := clienttest.Start(t, 1)
		cut(cluster, http.MethodPost, 1<<30)
		c, _ := connect(t, cluster)
		_, _, err := c.Allocate(t.Context(), ask("a", 1), 0)
		require.ErrorIs(t, err, ErrOutcomeUnknown)
		require.ErrorIs(t, err, ErrUnavailable)
	})
}

func TestContextEndsACall(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	cluster.Intercept = failing(1<<30, 503, "no-leader", "")
	c, clock := connect(t, cluster, func(config *Config) { config.RetryFor = -1 })
	ctx, cancel := context.WithCancel(t.Context())
	clock.before = func(n int) {
		if n == 4 {
			cancel()
		}
	}
	_, err := c.Seed(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrUnavailable)
	require.Len(t, clock.pauses(), 4)
}

func TestSlowServer(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 2)
	released := make(chan struct{})
	cluster.Intercept = func(node int, _ http.ResponseWriter, r *http.Request) bool {
		if node == 0 {
			select {
			case <-released:
			case <-r.Context().Done():
			}
		}
		return node == 0
	}
	c, _ := connect(t, cluster, func(config *Config) { config.RequestTimeout = 200 * time.Millisecond })
	_, err := c.Cluster(t.Context())
	close(released)
	require.NoError(t, err, "the other server answers")
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	cluster.Intercept = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		for range 20 {
			if _, err := w.Write([]byte(strings.Repeat(" ", 1<<20))); err != nil {
				break
			}
		}
		return true
	}
	c, clock := connect(t, cluster)
	_, err := c.Seed(t.Context())
	require.ErrorIs(t, err, ErrAnswer)
	require.Empty(t, clock.pauses())
}

func TestProblemsOfOthers(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "<html>", `{"type":7}`, `{"error":"x"}`, `null`} {
		cluster := clienttest.Start(t, 1)
		cluster.Intercept = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(body))
			return true
		}
		c, _ := connect(t, cluster)
		_, err := c.Seed(t.Context())
		p, ok := errors.AsType[*Problem](err)
		require.True(t, ok, body)
		require.Equal(t, "about:blank", p.Type)
		require.Equal(t, http.StatusNotFound, p.Status)
	}
}
