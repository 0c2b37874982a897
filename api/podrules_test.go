package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/kubernetes/podtoken"
)

func TestParsePodRules(t *testing.T) {
	t.Parallel()
	rules, err := ParsePodRules([]string{"team-a/validator=3", "team-a/*", "*/sa.b", "team-c/v=1"}, 10)
	require.NoError(t, err)
	for pod, want := range map[string]int{
		"team-a/validator": 3, "team-a/other": 10, "team-b/sa.b": 10, "team-c/v": 1,
		"team-b/validator": 0, "team-aa/validator": 0, "team-a/": 10, "team-b/": 0, "/": 0,
	} {
		namespace, account, _ := strings.Cut(pod, "/")
		keys, allowed := rules.limitOf(podtoken.Pod{Namespace: namespace, ServiceAccount: account})
		require.Equal(t, want, keys, pod)
		require.Equal(t, want > 0, allowed, pod)
	}
	_, allowed := PodRules(nil).limitOf(podtoken.Pod{Namespace: "a", ServiceAccount: "b"})
	require.False(t, allowed)
}

func TestPodRulesThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, entry := range []string{
		"", "a", "/", "a/", "/b", "a/b/c", "*", "a*/b", "a/b*", "A/b", "a/B", "a/b=", "a/b=0", "a/b=-1", "a/b=11", "a/b=x", "a/b=1=2", "a,b", "a.b/c",
	} {
		_, err := ParsePodRules([]string{entry}, 10)
		require.ErrorIs(t, err, ErrPodRules, entry)
	}
	_, err := ParsePodRules([]string{"a/b", "a/b=3"}, 10)
	require.ErrorContains(t, err, "twice")
}

// Kubernetes vouches for every pod; the server's list says which may have keys.
func TestPodsThatAreNotOnTheList(t *testing.T) {
	t.Parallel()
	h := seeded(t, func(c *Config) {
		c.PodTokens = fakePods{
			"good":    {Namespace: "default", Name: "web", UID: "uid-1", ServiceAccount: "validator"},
			"account": {Namespace: "default", Name: "web", UID: "uid-1", ServiceAccount: "default"},
			"abroad":  {Namespace: "other", Name: "web", UID: "uid-4", ServiceAccount: "validator"},
		}
		c.Pods = PodRules{{namespace: "default", account: "validator", keys: 3}}
	})
	for token, needs := range map[string]string{"account": "default/default", "abroad": "other/validator"} {
		p := requireProblem(t, h.postAs(podToken(token), `{"keys":1}`), http.StatusForbidden, forbidden, "")
		require.Contains(t, p.Detail, needs)
		requireProblem(t, h.do("", http.MethodGet, "/v1/cluster", "", bearing(podToken(token))), http.StatusForbidden, forbidden, "")
	}
	require.InDelta(t, 4, testutil.ToFloat64(h.server.metrics.refused.WithLabelValues("pod-not-listed")), 0)
	p := requireProblem(t, h.postAs(podToken("good"), `{"keys":4}`), http.StatusBadRequest, invalidField, "keys")
	require.Contains(t, p.Detail, "1 to 3")
	require.Zero(t, h.node.proposals(), "none of it costs a command")
	require.Equal(t, http.StatusAccepted, h.postAs(podToken("good"), `{"keys":3}`).Code)
	require.Equal(t, "uid-1 of system:serviceaccount:default:validator", h.by().GetCredential())
	require.Equal(t, http.StatusAccepted, h.allocate("db", "u", 4, "").Code, "an operator has no such limit")
}

func TestPodTokensNeedAList(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	cfg := h.server.cfg
	cfg.PodTokens, cfg.Registry = fakePods{}, nil
	_, err := New(cfg)
	require.ErrorIs(t, err, ErrConfig)
}

// A namespace that is not allowed is refused whatever the list of pods says, and somebody
// is told.
func TestNamespacesThatAreNotAllowed(t *testing.T) {
	t.Parallel()
	told := make(chan string, 10)
	h := seeded(t, func(c *Config) {
		c.PodTokens = fakePods{
			"good":    {Namespace: "default", Name: "web", UID: "uid-1", ServiceAccount: "validator"},
			"account": {Namespace: "default", Name: "web", UID: "uid-1", ServiceAccount: "default"},
			"abroad":  {Namespace: "other", Name: "web", UID: "uid-4", ServiceAccount: "validator"},
		}
		c.Pods = PodRules{{namespace: anyName, account: "validator", keys: 3}}
		c.AllowedNamespaces = []string{"first", "default"}
		c.PodRefused = func(pod podtoken.Pod, why string) { told <- pod.UID + " " + why }
	})
	p := requireProblem(t, h.postAs(podToken("abroad"), `{"keys":1}`), http.StatusForbidden, forbidden, "")
	require.Contains(t, p.Detail, "--allowed-namespaces")
	require.Equal(t, "uid-4 "+p.Detail, <-told)
	requireProblem(t, h.postAs(podToken("account"), `{"keys":1}`), http.StatusForbidden, forbidden, "")
	require.Contains(t, <-told, "--pods")
	require.InDelta(t, 1, testutil.ToFloat64(h.server.metrics.refused.WithLabelValues("namespace-not-allowed")), 0)
	require.NotEqual(t, http.StatusForbidden, h.postAs(podToken("good"), `{"keys":1}`).Code)
	require.Empty(t, told)
}
