package client

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/client/clienttest"
)

func TestFollowsTheLeader(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 3)
	cluster.Lead(2)
	c, clock := connect(t, cluster, func(config *Config) { config.Servers = config.Servers[:1] })
	for range 2 {
		_, _, err := c.Allocate(t.Context(), ask("a", 1), 0)
		require.NoError(t, err)
	}
	require.Empty(t, clock.pauses())
	var nodes []int
	for _, r := range cluster.Requests() {
		require.Equal(t, "Bearer "+clienttest.Token, r.Authorization)
		if r.Method == http.MethodPost {
			nodes = append(nodes, r.Node)
		}
	}
	require.Equal(t, []int{0, 2, 2}, nodes, "the second call goes to the leader at once")
}

func TestRedirectKeepsQueryAndBody(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 2)
	cluster.Lead(1)
	c, _ := connect(t, cluster)
	a, _, err := c.Allocate(t.Context(), ask("a", 2), holdFor)
	require.NoError(t, err)
	require.Len(t, a.Keys, 2)
	requests := cluster.Requests()
	require.Equal(t, "wait=20s", requests[len(requests)-1].Query)
}

// A server that sends us elsewhere gets no credentials there, and neither does one
// that claims membership for itself only.
func TestHostileRedirects(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		location func(stranger string) string
		says     string
	}{
		{"another origin", func(s string) string { return s + "/v1/allocations" }, "no member"},
		{"without a scheme", func(s string) string { return strings.TrimPrefix(s, "http:") + "/v1/allocations" }, "no member"},
		{"plain http to another host", func(string) string { return "http://198.51.100.1/v1/allocations" }, "plain http"},
		{"another scheme", func(string) string { return "file:///etc/passwd" }, "want https"},
		{"none", func(string) string { return "" }, "no usable Location"},
		{"garbage", func(string) string { return "http://[" }, "no usable Location"},
		{"user name in it", func(s string) string { return strings.Replace(s, "http://", "http://member@", 1) }, "no member"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var reached atomic.Int32
			stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
			t.Cleanup(stranger.Close)
			cluster := clienttest.Start(t, 1)
			cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPost {
					return false
				}
				w.Header().Set("Location", test.location(stranger.URL))
				w.WriteHeader(http.StatusTemporaryRedirect)
				return true
			}
			c, clock := connect(t, cluster)
			_, _, err := c.Allocate(t.Context(), ask("a", 1), 0)
			require.ErrorIs(t, err, ErrRedirect)
			require.NotErrorIs(t, err, ErrOutcomeUnknown)
			require.ErrorContains(t, err, test.says)
			require.Zero(t, reached.Load(), "the stranger was reached")
			require.Empty(t, clock.pauses(), "not repeated")
		})
	}
}

func TestStrangersListIsNotBelieved(t *testing.T) {
	t.Parallel()
	stranger := clienttest.Start(t, 1) // claims to be a member, and nobody asks it
	cluster := clienttest.Start(t, 1)
	cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false
		}
		w.Header().Set("Location", stranger.URLs()[0])
		w.WriteHeader(http.StatusTemporaryRedirect)
		return true
	}
	c, _ := connect(t, cluster)
	_, _, err := c.Allocate(t.Context(), ask("a", 1), 0)
	require.ErrorIs(t, err, ErrRedirect)
	require.Empty(t, stranger.Requests())

	cluster.Members = append(cluster.URLs(), stranger.URLs()...) // now a configured server vouches for it
	_, _, err = c.Allocate(t.Context(), ask("a", 1), 0)
	require.NoError(t, err)
	require.NotEmpty(t, stranger.Requests())
}

func TestNeverFromHTTPSToHTTP(t *testing.T) {
	t.Parallel()
	plain := clienttest.Start(t, 1)
	cluster := clienttest.StartTLS(t, 1)
	cluster.Intercept = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Location", plain.URLs()[0])
		w.WriteHeader(http.StatusTemporaryRedirect)
		return true
	}
	c, _ := connect(t, cluster, func(config *Config) { config.CAFile = cluster.CAFile() })
	_, _, err := c.Allocate(t.Context(), ask("a", 1), 0)
	require.ErrorIs(t, err, ErrRedirect)
	require.ErrorContains(t, err, "from https to http")
	require.Empty(t, plain.Requests())
}

func TestRedirectLoopsPass(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 2)
	var electing atomic.Bool
	electing.Store(true)
	urls := cluster.URLs()
	cluster.Intercept = func(node int, w http.ResponseWriter, _ *http.Request) bool {
		if !electing.Load() {
			return false
		}
		w.Header().Set("Location", urls[1-node])
		w.WriteHeader(http.StatusTemporaryRedirect)
		return true
	}
	c, clock := connect(t, cluster)
	clock.before = func(n int) { electing.Store(n < 3) }
	_, _, err := c.Allocate(t.Context(), ask("a", 1), 0)
	require.NoError(t, err)
	require.Len(t, clock.pauses(), 3)
	require.Len(t, cluster.Requests(), 3*4+1, "two requests per server and round, then one that succeeds")
}

// A redirect whose target cannot be judged, because nobody tells the members, passes.
func TestUnknownTargetIsAskedAbout(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 2)
	cluster.Lead(1)
	var sealed atomic.Bool
	sealed.Store(true)
	cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == pathCluster && sealed.Load() {
			clienttest.Problem(w, http.StatusServiceUnavailable, "overloaded", "not now")
			return true
		}
		return false
	}
	c, clock := connect(t, cluster, func(config *Config) { config.Servers = config.Servers[:1] })
	clock.before = func(int) { sealed.Store(false) }
	_, _, err := c.Allocate(t.Context(), ask("a", 1), 0)
	require.NoError(t, err)
	require.Len(t, clock.pauses(), 1)
}
