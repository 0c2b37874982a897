package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/kubernetes/podtoken"
)

// rights are who may call a route: roles; what callers of these roles may do that
// are limited to the namespace "default"; and what the pod default/web may do.
type rights struct{ roles, limited, pod string }

const (
	nothing = ""         // is refused
	own     = "own"      // with what is theirs
	shown   = "filtered" // and is shown what is theirs
)

// whoMay is written down a second time on purpose: a change of the table of
// routes has to be made here too.
var whoMay = map[string]rights{
	"POST /v1/allocations":                         {"admin operator", own, own},
	"GET /v1/allocations":                          {"admin operator viewer", shown, nothing},
	"GET /v1/allocations/{namespace}/{pod}":        {"admin operator viewer", own, own},
	"DELETE /v1/allocations/{namespace}/{pod}":     {"admin operator", own, own},
	"POST /v1/allocations/{namespace}/{pod}/lease": {"admin operator", own, own},
	"GET /assignments":                             {"admin operator viewer", shown, nothing},
	"GET /allocations":                             {"admin operator viewer", shown, nothing},
	"GET /v1/keys":                                 {"admin operator viewer", shown, nothing},
	"GET /v1/keys/{pubkey}":                        {"admin operator viewer", shown, shown},
	"POST /v1/keys/import":                         {"admin", nothing, nothing},
	"POST /v1/keys/{pubkey}/confirm-stopped":       {"admin operator", nothing, nothing},
	"POST /v1/keys/{pubkey}/retire":                {"admin operator", nothing, nothing},
	"GET /v1/deposits":                             {"admin operator viewer", shown, nothing},
	"GET /v1/deposits/{pubkey}":                    {"admin operator viewer", shown, nothing},
	"POST /v1/deposits/resume":                     {"admin operator", nothing, nothing},
	"GET /v1/audit":                                {"admin", nothing, nothing},
	"GET /v1/tokens":                               {"admin", nothing, nothing},
	"POST /v1/tokens":                              {"admin", nothing, nothing},
	"DELETE /v1/tokens/{id}":                       {"admin", nothing, nothing},
	"POST /v1/tokens/{id}/confirm":                 {"admin", nothing, nothing},
	"GET /v1/restore":                              {"admin operator viewer", nothing, nothing},
	"POST /v1/restore/confirm":                     {"admin", nothing, nothing},
	"GET /v1/seed":                                 {"admin", nothing, nothing},
	"PUT /v1/seed":                                 {"admin", nothing, nothing},
	"GET /v1/seal":                                 {"admin operator viewer", nothing, nothing},
	"POST /v1/seal/verify":                         {"admin operator", nothing, nothing},
	"POST /v1/seal/rotate":                         {"admin", nothing, nothing},
	"POST /v1/seal/keys":                           {"admin", nothing, nothing},
	"DELETE /v1/seal/keys/{id}":                    {"admin", nothing, nothing},
	"GET /v1/cluster":                              {"admin operator viewer", shown, shown},
	"GET /v1/snapshot":                             {"admin", nothing, nothing},
	"PUT /v1/snapshot":                             {"admin", nothing, nothing},
	"GET /v1/backups":                              {"admin operator viewer", nothing, nothing},
	"POST /v1/cluster/members":                     {"admin", nothing, nothing},
	"DELETE /v1/cluster/members/{id}":              {"admin", nothing, nothing},
	"POST /v1/cluster/members/{id}/promote":        {"admin", nothing, nothing},
	"POST /v1/cluster/transfer":                    {"admin", nothing, nothing},
	"GET /livez":                                   {"anyone", nothing, nothing},
	"GET /readyz":                                  {"anyone", nothing, nothing},
	"GET /metrics":                                 {"admin operator viewer", nothing, nothing},
	"GET /debug/pprof/":                            {"admin", nothing, nothing},
	"GET /debug/pprof/{profile}":                   {"admin", nothing, nothing},
	"GET /openapi.yaml":                            {"anyone", nothing, nothing},
	"GET /":                                        {"anyone", nothing, nothing},
}

// whoMayClouds are the same for what is under /v2, where callers that are limited to
// namespaces, and pods, may nothing: roles; and what callers of these roles may do that
// are limited to the project "mine".
var whoMayClouds = func() map[string]rights {
	const read, change = "admin operator viewer", "admin operator"
	all := map[string]rights{
		"POST /v2/projects": {roles: change, limited: own}, "GET /v2/projects": {roles: read, limited: shown},
		"GET /v2/projects/{project}": {roles: read, limited: own}, "PUT /v2/projects/{project}": {roles: change, limited: own},
		"DELETE /v2/projects/{project}": {roles: change, limited: own},
		"POST /v2/cluster-providers":    {roles: change}, "GET /v2/cluster-providers": {roles: read, limited: shown},
		"GET /v2/cluster-providers/{provider}": {roles: read, limited: shown}, "DELETE /v2/cluster-providers/{provider}": {roles: change},
		"POST /v2/cluster-providers/{provider}/clusters":             {roles: change},
		"GET /v2/cluster-providers/{provider}/clusters":              {roles: read, limited: shown},
		"GET /v2/cluster-providers/{provider}/clusters/{cluster}":    {roles: read, limited: shown},
		"PUT /v2/cluster-providers/{provider}/clusters/{cluster}":    {roles: change},
		"DELETE /v2/cluster-providers/{provider}/clusters/{cluster}": {roles: change},
	}
	const cloud = "/v2/projects/{project}/logical-clouds/{cloud}"
	for path, name := range map[string]string{
		"/v2/projects/{project}/logical-clouds": "cloud", cloud + "/cluster-references": "reference", cloud + "/user-permissions": "permission",
		cloud + "/cluster-quotas": "quota", cloud + "/kv-pairs": "keyValuesName",
	} {
		all["POST "+path], all["GET "+path] = rights{roles: change, limited: own}, rights{roles: read, limited: own}
		one := path + "/{" + name + "}"
		all["GET "+one], all["PUT "+one], all["DELETE "+one] = rights{roles: read, limited: own}, rights{roles: change, limited: own}, rights{roles: change, limited: own}
	}
	for _, action := range []string{"instantiate", "update", "terminate", "rotate-key"} {
		all["POST "+cloud+"/"+action] = rights{roles: change, limited: own}
	}
	all["GET "+cloud+"/status"] = rights{roles: read, limited: own}
	all["GET "+cloud+"/kubeconfig"] = rights{roles: change, limited: own}
	all["GET "+cloud+"/cluster-references/{reference}/kubeconfig"] = rights{roles: change, limited: own}
	return all
}()

// has reports whether a list of words has this one.
func has(words, word string) bool { return strings.Contains(" "+words+" ", " "+word+" ") }

// visit calls a route as somebody, about the pod of a namespace.
func (h *harness) visit(r route, namespace string, as requestOption) *httptest.ResponseRecorder {
	h.Helper()
	path := strings.NewReplacer(
		"{namespace}", namespace, "{pod}", "web", "{pubkey}", "0x"+strings.Repeat("ab", 48), "{id}", "0123456789abcdef",
		"{project}", namespace, "{profile}", "heap", "{", "", "}", "",
	).Replace(r.path)
	body := ""
	if r.path == "/v2/projects" && r.method == http.MethodPost {
		body = fmt.Sprintf(`{"metadata":{"name":%q}}`, namespace)
	}
	if r.path == "/v1/allocations" && r.method == http.MethodPost {
		text, err := json.Marshal(wire.AllocationRequest{Namespace: namespace, Pod: "web", PodUID: "u1", Keys: 1})
		require.NoError(h, err)
		body = string(text)
	}
	h.visits++
	h.remote = fmt.Sprintf("192.0.2.%d:1", h.visits%250) // so that no address has too many failures
	return h.do("", r.method, path, body, as)
}

func TestEveryRouteForEveryCaller(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withPods(map[string]podtoken.Pod{
		"web": {Namespace: "default", Name: "web", UID: "u1"},
	}))
	require.Len(t, routes(), len(whoMay)+len(whoMayClouds))
	expired, revoked := h.state("expired", RoleAdmin, time.Now().Add(-time.Minute)), h.state("revoked", RoleAdmin, time.Time{})
	h.revoke(revoked)
	strangers := map[string]requestOption{
		"nobody": func(*http.Request) {}, "wrong": bearing("kst_wrong"), "expired": bearing(expired), "revoked": bearing(revoked),
		"a forged pod": bearing(podToken("forged")),
	}
	for _, r := range routes() {
		name := r.method + " " + r.path
		may, listed := whoMay[name]
		if clouds, under := whoMayClouds[name]; under {
			may, listed = rights{roles: clouds.roles}, true
		}
		require.True(t, listed, name)
		for stranger, as := range strangers {
			w := h.visit(r, "default", as)
			if may.roles == "anyone" {
				requireLetIn(t, w, name+" as "+stranger)
				continue
			}
			requireProblem(t, w, http.StatusUnauthorized, unauthenticated, "")
			require.Contains(t, w.Header().Get("WWW-Authenticate"), `Bearer realm="keysteward"`)
		}
		for _, role := range givenRoles {
			letIn := may.roles == "anyone" || has(may.roles, string(role))
			for _, as := range []requestOption{bearing(h.tokens[role]), bearing(h.state(string(role), role, time.Now().Add(time.Hour))), certified(role)} {
				requireDecision(t, letIn, h.visit(r, "default", as), name+" as "+string(role))
			}
			limited := bearing(h.state("limited", role, time.Time{}, "default"))
			requireDecision(t, letIn && (may.roles == "anyone" || may.limited != nothing), h.visit(r, "default", limited), name+" as limited "+string(role))
			requireDecision(t, letIn && (may.roles == "anyone" || may.limited == shown), h.visit(r, "other", limited), name+" elsewhere as limited "+string(role))
		}
		pod := bearing(podToken("web"))
		requireDecision(t, may.roles == "anyone" || may.pod != nothing, h.visit(r, "default", pod), name+" as a pod")
		requireDecision(t, may.roles == "anyone" || may.pod == shown, h.visit(r, "other", pod), name+" as another pod")
	}
}

func requireLetIn(t *testing.T, w *httptest.ResponseRecorder, what string) {
	t.Helper()
	require.NotContains(t, []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests}, w.Code, "%s: %s", what, w.Body)
}

func requireDecision(t *testing.T, letIn bool, w *httptest.ResponseRecorder, what string) {
	t.Helper()
	if letIn {
		requireLetIn(t, w, what)
		return
	}
	require.Equal(t, http.StatusForbidden, w.Code, "%s: %s", what, w.Body)
	requireProblem(t, w, http.StatusForbidden, forbidden, "")
}

func TestAuthorizationHeader(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	good := h.tokens[RoleViewer]
	for value, status := range map[string]int{
		"Bearer " + good:                  http.StatusOK,
		"bearer " + good:                  http.StatusOK,
		"Bearer  " + good:                 http.StatusOK,
		"Bearer " + good + "x":            http.StatusUnauthorized,
		"Bearer " + good[:len(good)-1]:    http.StatusUnauthorized,
		"Bearer " + strings.ToUpper(good): http.StatusUnauthorized,
		"Bearer":                          http.StatusUnauthorized,
		"Basic " + good:                   http.StatusUnauthorized,
		good:                              http.StatusUnauthorized,
		"":                                http.StatusUnauthorized,
	} {
		require.Equal(t, status, h.do("", http.MethodGet, "/v1/cluster", "", header("Authorization", value)).Code, value)
	}
}

func FuzzAuthorization(f *testing.F) {
	f.Add("Bearer kst_" + strings.Repeat("ab", 32))
	f.Add("Bearer " + podToken("web"))
	f.Add("bearer\t\x00")
	f.Fuzz(func(t *testing.T, value string) {
		h := newHarness(t, withPods(map[string]podtoken.Pod{"web": {Namespace: "default", Name: "web", UID: "u1"}}))
		w := h.do("", http.MethodGet, "/v1/keys", "", func(r *http.Request) { r.Header["Authorization"] = []string{value} })
		if w.Code != http.StatusUnauthorized { // a pod may not list keys
			require.Equal(t, http.StatusForbidden, w.Code)
			require.Contains(t, value, podToken("web"))
		}
	})
}

func TestAssignmentsPublic(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(c *Config) { c.AssignmentsPublic = true })
	for _, path := range []string{"/assignments", "/allocations"} {
		require.Equal(t, http.StatusOK, h.do("", http.MethodGet, path, "").Code)
	}
	require.Equal(t, http.StatusUnauthorized, h.do("", http.MethodGet, "/v1/allocations", "").Code)
}

func TestMetricsWithoutTokenOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for remote, status := range map[string]int{
		"127.0.0.1:5": http.StatusOK, "[::1]:5": http.StatusOK, "127.9.9.9:5": http.StatusOK,
		"10.0.0.1:5": http.StatusUnauthorized, "[2001:db8::1]:5": http.StatusUnauthorized, "": http.StatusUnauthorized,
	} {
		h.remote = remote
		require.Equal(t, status, h.do("", http.MethodGet, "/metrics", "").Code, remote)
	}
	h.remote = "127.0.0.1:5"
	require.Equal(t, http.StatusUnauthorized,
		h.do("", http.MethodGet, "/metrics", "", header("X-Forwarded-For", "8.8.8.8")).Code, "a proxy on the same machine")
	require.Equal(t, http.StatusUnauthorized, h.do("", http.MethodGet, "/v1/cluster", "").Code, "loopback opens nothing else")
}

func TestRefusedCallersAreLoggedWithoutTheirToken(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for range 1000 {
		h.do("", http.MethodGet, "/v1/keys", "", header("Authorization", "Bearer kst_guess"))
	}
	h.do(RoleViewer, http.MethodGet, "/v1/seed", "")
	lines := strings.Count(h.log.String(), "refused a caller")
	require.Positive(t, lines)
	require.Less(t, lines, 100, "the log is limited")
	require.NotContains(t, h.log.String(), "kst_", "no token is logged")
}

func TestAccessWithoutRolesLetsNobodyIn(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, as := range []requestOption{bearing(h.tokens[RoleAdmin]), certified(RoleAdmin)} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		require.NoError(t, err)
		as(r)
		_, err = h.server.authorize(route{}, r)
		require.ErrorContains(t, err, "forbidden")
	}
	for _, caller := range []Caller{{Namespaces: []string{"a"}}, {Projects: []string{"a"}}, {Pod: &podtoken.Pod{}}} {
		require.ErrorContains(t, h.server.permit(access{}, &call{caller: caller}), "forbidden", "without an object it is about the whole cluster")
	}
}
