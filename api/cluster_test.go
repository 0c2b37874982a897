package api

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node"
)

func TestCluster(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	c := read[wire.Cluster](t, h.get("/v1/cluster"))
	require.Equal(t, wire.Cluster{
		ClusterID: "cluster-1", Leader: "node-a", Term: testTerm, FailureTolerance: 1,
		Nodes: []wire.Node{
			{ID: "node-a", API: "https://a.example:7400", Raft: "a:7500", Voter: true, Role: wire.NodeRoleVoter},
			{ID: "node-b", API: "https://b.example:7400", Raft: "b:7500", Voter: true, Role: wire.NodeRoleVoter, Lag: 3},
			{ID: "node-c", Raft: "c:7500", Voter: true, Role: wire.NodeRoleVoter, Lag: -1},
		},
	}, c)
}

// Who was let in and does not vote yet is told from the others, with the reason.
func TestClusterTellsWhoDoesNotVote(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.node.status.Peers[1].Voter = false
	for lag, want := range map[int64]string{
		-1: "how far it is is not known here", 0: "is about to vote", node.PromoteWithin + 1: "catches up: it lacks 65 log entries",
	} {
		h.node.status.Peers[1].Lag = lag
		n := read[wire.Cluster](t, h.get("/v1/cluster")).Nodes[1]
		require.Equal(t, wire.NodeRoleNonvoter, n.Role)
		require.False(t, n.Voter)
		require.Equal(t, want, n.Waiting)
	}
	h.node.status.Peers[1].Silent = true
	require.Equal(t, "does not answer", read[wire.Cluster](t, h.get("/v1/cluster")).Nodes[1].Waiting)
}

// A node tells of itself how far it has read DepositEvents.
func TestClusterTellsOfDepositEvents(t *testing.T) {
	t.Parallel()
	events := wire.DepositEvents{NextBlock: 7, Head: 9, Events: 3, Waiting: wire.Reason{Code: "event-index-failed", Detail: "no space"}}
	h := newHarness(t, func(c *Config) { c.DepositEvents = func() wire.DepositEvents { return events } })
	h.node.follow("node-b", "https://b.example:7400")
	nodes := read[wire.Cluster](t, h.get("/v1/cluster")).Nodes
	require.Equal(t, events, nodes[0].DepositEvents)
	require.Empty(t, nodes[1].DepositEvents)
}

func TestClusterTellsTermsOfDeposits(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.node.status.Peers[1].Terms = "amount-gwei=1"
	nodes := read[wire.Cluster](t, h.get("/v1/cluster")).Nodes
	require.Equal(t, "amount-gwei=1", nodes[1].Terms)
	require.Empty(t, nodes[0].Terms)
}

// The leader counts on nobody who does not answer it, in the answer and in the metric.
func TestFailureTolerance(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.node.status.Peers[2].Silent = true
	require.Zero(t, read[wire.Cluster](t, h.get("/v1/cluster")).FailureTolerance)
	require.Contains(t, h.get("/metrics").Body.String(), "\nkeysteward_failure_tolerance 0\n")
}

func TestNoLeaderIsNamedWithoutASession(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.node.follow("", "")
	h.node.status.ElectedID = "node-a"
	require.Empty(t, read[wire.Cluster](t, h.get("/v1/cluster")).Leader)
	p := requireProblem(t, h.get("/v1/keys"), 503, noLeader, "")
	require.Contains(t, p.Detail, "node node-a was elected but has no session")
}

// Load balancers probe with HEAD: the same status and headers as GET, no body.
func TestHeadOfEveryGet(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	a := h.held("web-0", "uid-1", 1)
	h.withCloud()
	h.made(cloudUnderTest+"/kv-pairs", `{"metadata":{"name":"kv"},"spec":{"kv":[{"a":1}]}}`)
	h.ready()
	served := httptest.NewServer(h.server.Handler())
	defer served.Close()
	ask := func(method, path string) (status int, sent http.Header) {
		r, err := http.NewRequestWithContext(t.Context(), method, served.URL+path, http.NoBody)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+h.tokens[RoleAdmin])
		resp, err := served.Client().Transport.RoundTrip(r)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, method == http.MethodHead, len(body) == 0 && resp.StatusCode != http.StatusFound, path)
		return resp.StatusCode, resp.Header
	}
	fill := strings.NewReplacer("{namespace}", "default", "{pod}", "web-0", "{pubkey}", a.Keys[0], "{profile}", "heap",
		"{project}", "p", "{cloud}", "c", "{reference}", "r1", "{provider}", "cp", "{cluster}", "one", "{permission}", "view", "{quota}", "q", "{keyValuesName}", "kv")
	for _, r := range routes() {
		if r.method != http.MethodGet || r.path == "/" || r.path == "/v1/snapshot" { // which needs a keyring, and has a test
			continue
		}
		status, want := ask(http.MethodGet, fill.Replace(r.path))
		require.Equal(t, http.StatusOK, status, r.path)
		disclosed := h.node.proposals()
		status, got := ask(http.MethodHead, fill.Replace(r.path))
		require.Equal(t, disclosed, h.node.proposals(), "%s: what is not sent is not disclosed", r.path)
		require.Equal(t, http.StatusOK, status, r.path)
		require.Equal(t, want.Get("Content-Type"), got.Get("Content-Type"), r.path)
		require.NotEmpty(t, got.Get("X-Request-Id"))
	}
	status, _ := ask(http.MethodHead, "/v1/allocations/default/web-9")
	require.Equal(t, http.StatusNotFound, status)
	require.Contains(t, h.get("/metrics").Body.String(), `{code="200",method="HEAD",route="/livez"} 1`)
}

func TestHealth(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	require.Equal(t, "ok\n", h.do("", http.MethodGet, "/livez", "").Body.String())
	w := h.do("", http.MethodGet, "/readyz?verbose", "")
	require.Equal(t, http.StatusOK, w.Code)
	require.True(t, read[wire.Readiness](t, w).Ready)

	h.node.checks = append(h.node.checks, node.Check{Name: "unsealed", Detail: "no key file"})
	w = h.do("", http.MethodGet, "/readyz", "")
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	r := read[wire.Readiness](t, w)
	require.False(t, r.Ready)
	require.Equal(t, "node-a", r.Node)
	require.Equal(t, "no key file", r.Checks[1].Detail)

	h.node.follow("", "")
	require.Equal(t, http.StatusOK, h.do("", http.MethodGet, "/livez", "").Code, "a node without a leader is alive")
}

func TestHomeAndDocument(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := h.do("", http.MethodGet, "/", "")
	require.Equal(t, http.StatusFound, w.Code)
	require.Equal(t, "/assignments", w.Header().Get("Location"))
	w = h.do("", http.MethodGet, "/openapi.yaml", "")
	require.Equal(t, string(Document), w.Body.String())
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.held("web-0", "uid-1", 2)
	h.node.deposit("too-little-money", "x")
	h.vault.sealUp("no key file")
	h.do("", http.MethodGet, "/made/up/path", "")
	h.do("", "BREW", "/v1/keys", "")
	h.get("/v1/keys/0x12")
	text := h.get("/metrics").Body.String()
	for _, line := range []string{
		`keysteward_http_requests_total{code="200",method="POST",route="/v1/allocations"} 1`,
		`keysteward_http_requests_total{code="202",method="POST",route="/v1/allocations"} 1`,
		`keysteward_http_requests_total{code="400",method="GET",route="/v1/keys/{pubkey}"} 1`,
		`keysteward_http_requests_total{code="404",method="none",route="none"} 1`,
		`keysteward_http_requests_total{code="405",method="none",route="none"} 1`,
		`keysteward_http_request_duration_seconds_count{method="POST",route="/v1/allocations"} 2`,
		`keysteward_http_held_requests 0`,
		`keysteward_keys{state="held"} 2`, `keysteward_keys{state="free"} 0`,
		`keysteward_deposits{state="final"} 2`, `keysteward_deposits_waiting{reason="too-little-money"} 1`,
		`keysteward_cluster_time_seconds 0`, `keysteward_sealed 1`, `keysteward_leader 1`,
		`keysteward_failure_tolerance 1`, `keysteward_build_info{version="v-test"} 1`,
		`keysteward_ready{check="` + h.node.checks[0].Name + `"} 1`,
	} {
		require.Contains(t, text, line+"\n")
	}
	require.Contains(t, text, "\nkeysteward_applied_index ")
	require.NotContains(t, text, "BREW")
	require.NotContains(t, text, "0x12")
	h.node.follow("", "")
	text = h.get("/metrics").Body.String()
	require.Contains(t, text, "keysteward_leader 0\n")
}

func TestRequestIDs(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for id, kept := range map[string]bool{
		"abc-1._Z": true, strings.Repeat("x", 64): true,
		strings.Repeat("x", 65): false, "a b": false, "a\nb": false, "<script>": false, "": false, "ä": false,
	} {
		got := h.get("/v1/keys/zz", header("X-Request-Id", id)).Header().Get("X-Request-Id")
		require.Equal(t, kept, got == id, "%q became %q", id, got)
		require.Regexp(t, saneRequestID, got)
	}
	first := h.get("/").Header().Get("X-Request-Id")
	require.NotEqual(t, first, h.get("/").Header().Get("X-Request-Id"))
}

func TestUnknownPathsAndMethods(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, path := range []string{"/v1", "/v1/", "/v1/nothing", "/assignments/", "/v2/clouds", "/../etc/passwd"} {
		requireProblem(t, h.do(RoleAdmin, http.MethodGet, path, ""), 404, notFound, "")
	}
	w := h.do(RoleAdmin, http.MethodPatch, "/v1/allocations", "")
	requireProblem(t, w, 405, methodNotAllowed, "")
	require.Contains(t, w.Header().Get("Allow"), "POST")
}
