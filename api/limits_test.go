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

// A flood of wrong tokens: it costs no command, no review and little log, and keeps
// out nobody whose token is right, even if it was never seen before and comes from
// the same address.
func TestFloodOfWrongTokens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pods := fakePods{"good": {Namespace: "default", Name: "web", UID: "u1"}}
		h := newHarness(t, func(c *Config) { c.PodTokens, c.Pods = pods, anyPod })
		ask := func(as requestOption) int { return h.do("", http.MethodGet, "/v1/cluster", "", as).Code }
		proposals, logged := h.node.proposals(), len(h.log.String())
		codes := map[int]int{}
		for i := range 2000 {
			codes[ask(bearing([]string{"kst_" + strconv.Itoa(i), podToken("garbage" + strconv.Itoa(i))}[i%2]))]++
		}
		require.Equal(t, map[int]int{http.StatusUnauthorized: failuresBurst, http.StatusTooManyRequests: 2000 - failuresBurst}, codes)
		for name, right := range map[string]requestOption{
			"of the file": bearing(h.tokens[RoleAdmin]), "of the state": bearing(h.state("x", RoleViewer, time.Time{})),
			"of a pod": bearing(podToken("good")), "certificate": certified(RoleViewer),
		} {
			require.Equal(t, http.StatusOK, ask(right), name)
		}
		require.Equal(t, proposals, h.node.proposals(), "no commands")
		lines := h.log.String()[logged:]
		require.Less(t, strings.Count(lines, "refused a caller"), 20)
		require.NotContains(t, lines, "kst_")
		require.NotContains(t, lines, "eyJ")
		require.InDelta(t, 2000-failuresBurst, testutil.ToFloat64(h.server.metrics.refused.WithLabelValues("too-many-logins")), 0)
		<-time.After(time.Second)
		require.Equal(t, http.StatusUnauthorized, ask(bearing("kst_wrong")), "the flood is over")
		require.Contains(t, h.log.String(), "notLogged=")
		h.server.stop()
	})
}

// Forged tokens that look like those of pods cost Kubernetes a review, so they are
// bounded: by address, where a pod that was let in before stays in.
func TestFloodOfForgedPodTokens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, withPods(map[string]podtoken.Pod{
			"known": {Namespace: "default", Name: "a", UID: "u1"}, "new": {Namespace: "default", Name: "b", UID: "u2"},
		}))
		ask := func(token string) int { return h.do("", http.MethodGet, "/v1/cluster", "", bearing(token)).Code }
		require.Equal(t, http.StatusOK, ask(podToken("known")))
		codes := map[int]int{}
		for i := range 1000 {
			codes[ask(podToken(strconv.Itoa(i)))]++
		}
		require.Equal(t, map[int]int{http.StatusUnauthorized: failuresBurst, http.StatusTooManyRequests: 1000 - failuresBurst}, codes)
		require.Equal(t, http.StatusOK, ask(podToken("known")))
		require.Equal(t, http.StatusOK, ask(h.tokens[RoleViewer]))
		require.Equal(t, http.StatusTooManyRequests, ask(podToken("new")), "from the same address it waits")
		<-time.After(time.Second)
		require.Equal(t, http.StatusOK, ask(podToken("new")))

		for i := range 3000 { // from everywhere
			h.remote = fmt.Sprintf("10.%d.%d.1:1", i%200, i%7)
			ask(podToken(strconv.Itoa(i)))
		}
		require.Equal(t, http.StatusTooManyRequests, ask(podToken("0")))
		h.remote = "192.0.2.99:1"
		require.Equal(t, http.StatusOK, ask(podToken("new")), "an address without wrong ones is not concerned")
		h.server.stop()
	})
}

func TestFloodFromManyAddresses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		codes := map[int]int{}
		for i := range 3000 {
			h.remote = fmt.Sprintf("10.%d.%d.1:1", i/250, i%250)
			codes[h.do("", http.MethodGet, "/v1/cluster", "", bearing("kst_wrong")).Code]++
		}
		require.Equal(t, failuresInAllBurst, codes[http.StatusUnauthorized], "in all")
		require.Equal(t, http.StatusOK, h.do(RoleAdmin, http.MethodGet, "/v1/cluster", "").Code, "a right one gets in")
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
		remote := fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
		l.wrong.count(remote)
		l.reviews.count(remote)
	}
	require.Len(t, l.good, maxBuckets)
	require.LessOrEqual(t, l.wrong.addresses.size(), maxBuckets)
	require.LessOrEqual(t, l.reviews.addresses.size(), maxBuckets)
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
