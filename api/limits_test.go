package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/kubernetes/podtoken"
)

func TestCallersArePaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, func(c *Config) { c.RateLimit = 10 }, withPods(map[string]podtoken.Pod{
			"a": {Namespace: "default", Name: "a", UID: "u1"}, "b": {Namespace: "default", Name: "b", UID: "u1"},
		}))
		ask := func(as requestOption) int {
			w := h.do("", http.MethodGet, "/v1/cluster", "", as)
			if w.Code == http.StatusTooManyRequests {
				requireProblem(t, w, http.StatusTooManyRequests, tooManyRequests, "")
				require.Equal(t, "1", w.Header().Get("Retry-After"))
			}
			return w.Code
		}
		wild := bearing(h.tokens[RoleViewer])
		for range 40 { // four seconds' worth
			require.Equal(t, http.StatusOK, ask(wild))
		}
		require.Equal(t, http.StatusTooManyRequests, ask(wild))
		for _, other := range []requestOption{
			bearing(h.tokens[RoleAdmin]), bearing(h.state("x", RoleViewer, time.Time{})), certified(RoleViewer),
			bearing(podToken("a")), bearing(podToken("b")),
		} {
			require.Equal(t, http.StatusOK, ask(other), "others are not concerned")
		}
		require.Equal(t, http.StatusOK, h.do("", http.MethodGet, "/livez", "").Code, "nor are probes")
		<-time.After(100 * time.Millisecond)
		require.Equal(t, http.StatusOK, ask(wild))
		require.Equal(t, http.StatusTooManyRequests, ask(wild))
		require.InDelta(t, 2, testutil.ToFloat64(h.server.metrics.refused.WithLabelValues("too-many-requests")), 0)
		h.server.stop()
	})
}

func TestPublicAssignmentsArePacedByAddress(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(c *Config) { c.RateLimit, c.AssignmentsPublic = 1, true })
	for i, remote := range []string{"192.0.2.1:1", "192.0.2.1:2", "[2001:db8::1]:1", "[2001:db8::2]:9"} {
		h.remote = remote
		for range 2 {
			require.Equal(t, http.StatusOK, h.do("", http.MethodGet, "/assignments", "").Code)
		}
		if i%2 == 1 {
			require.Equal(t, http.StatusTooManyRequests, h.do("", http.MethodGet, "/assignments", "").Code)
		}
	}
}

// A flood of wrong tokens: it costs no command and little log, whoever was let in
// before stays in, and the others wait.
func TestFloodOfWrongTokens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pods := fakePods{"good": {Namespace: "default", Name: "web", UID: "u1"}}
		h := newHarness(t, func(c *Config) { c.PodTokens, c.Pods = pods, anyPod })
		known, other := bearing(h.tokens[RoleViewer]), bearing(h.tokens[RoleAdmin])
		ask := func(as requestOption) int { return h.do("", http.MethodGet, "/v1/cluster", "", as).Code }
		require.Equal(t, http.StatusOK, ask(known))
		proposals, logged := h.node.proposals(), len(h.log.String())
		codes := map[int]int{}
		for i := range 2000 {
			codes[ask(bearing([]string{"kst_" + strconv.Itoa(i), podToken(strconv.Itoa(i))}[i%2]))]++
		}
		require.Equal(t, map[int]int{http.StatusUnauthorized: failuresBurst, http.StatusTooManyRequests: 2000 - failuresBurst}, codes)
		require.Equal(t, http.StatusOK, ask(known), "who was let in before stays in")
		require.Equal(t, http.StatusTooManyRequests, ask(other), "a right one from the same address waits")
		require.Equal(t, proposals, h.node.proposals(), "no commands")
		lines := h.log.String()[logged:]
		require.Less(t, strings.Count(lines, "refused a caller"), 20)
		require.NotContains(t, lines, "kst_")
		require.NotContains(t, lines, "eyJ")
		require.InDelta(t, 2001-failuresBurst, testutil.ToFloat64(h.server.metrics.refused.WithLabelValues("too-many-logins")), 0)

		h.remote = "192.0.2.99:1"
		require.Equal(t, http.StatusOK, ask(bearing(podToken("good"))), "another address is not concerned")
		h.remote = "192.0.2.1:1"
		<-time.After(time.Second)
		require.Equal(t, http.StatusOK, ask(other), "the flood is over")
		require.Contains(t, h.log.String(), "notLogged=")
		h.server.stop()
	})
}

func TestFloodFromManyAddresses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		require.Equal(t, http.StatusOK, h.do(RoleAdmin, http.MethodGet, "/v1/cluster", "").Code)
		codes := map[int]int{}
		for i := range 3000 {
			h.remote = fmt.Sprintf("10.%d.%d.1:1", i/250, i%250)
			codes[h.do("", http.MethodGet, "/v1/cluster", "", bearing("kst_wrong")).Code]++
		}
		require.Equal(t, failuresInAllBurst, codes[http.StatusUnauthorized], "in all")
		require.Equal(t, http.StatusOK, h.do(RoleAdmin, http.MethodGet, "/v1/cluster", "").Code, "who was let in before stays in")
		h.server.stop()
	})
}

// Without credentials nothing is looked up, so it is no failed login.
func TestNoCredentialsAreNoFailure(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for range 2 * failuresBurst {
		require.Equal(t, http.StatusUnauthorized, h.do("", http.MethodGet, "/v1/cluster", "").Code)
	}
	require.Equal(t, http.StatusOK, h.do(RoleAdmin, http.MethodGet, "/v1/cluster", "").Code)
}

func TestBucketsAreBounded(t *testing.T) {
	t.Parallel()
	b := newBuckets(1, 5)
	now := time.Now()
	for i := range maxBuckets + 1000 {
		require.Zero(t, b.take(strconv.Itoa(i), now))
	}
	require.Equal(t, maxBuckets, b.size())
	l := newLogins()
	for i := range maxBuckets + 1000 {
		l.succeeded(strconv.Itoa(i))
		l.failed(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255))
	}
	require.Len(t, l.good, maxBuckets)
	require.LessOrEqual(t, l.addresses.size(), maxBuckets)
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	for remote, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::/64", "2001:db8::ffff:1": "2001:db8::/64",
		"2001:db8:0:1::1": "2001:db8:0:1::/64", "fe80::1%eth0": "fe80::/64", "::ffff:192.0.2.1": "::ffff:192.0.2.1", "": "", "pipe": "pipe",
	} {
		require.Equal(t, want, network(remote), remote)
	}
}
