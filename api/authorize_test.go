package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// whoMay is written down a second time on purpose: a change of the table of
// routes has to be made here too.
var whoMay = map[string]string{
	"POST /v1/allocations":                     "admin operator",
	"GET /v1/allocations":                      "admin operator viewer",
	"GET /v1/allocations/{namespace}/{pod}":    "admin operator viewer",
	"DELETE /v1/allocations/{namespace}/{pod}": "admin operator",
	"GET /assignments":                         "admin operator viewer",
	"GET /allocations":                         "admin operator viewer",
	"GET /v1/keys":                             "admin operator viewer",
	"GET /v1/keys/{pubkey}":                    "admin operator viewer",
	"POST /v1/keys/import":                     "admin",
	"POST /v1/keys/{pubkey}/confirm-stopped":   "admin operator",
	"POST /v1/keys/{pubkey}/retire":            "admin operator",
	"GET /v1/deposits":                         "admin operator viewer",
	"GET /v1/deposits/{pubkey}":                "admin operator viewer",
	"POST /v1/deposits/resume":                 "admin operator",
	"GET /v1/audit":                            "admin",
	"GET /v1/seed":                             "admin",
	"PUT /v1/seed":                             "admin",
	"GET /v1/seal":                             "admin operator viewer",
	"POST /v1/seal/verify":                     "admin operator",
	"POST /v1/seal/rotate":                     "admin",
	"POST /v1/seal/keys":                       "admin",
	"DELETE /v1/seal/keys/{id}":                "admin",
	"GET /v1/cluster":                          "admin operator viewer",
	"GET /livez":                               "anyone",
	"GET /readyz":                              "anyone",
	"GET /metrics":                             "admin operator viewer",
	"GET /openapi.yaml":                        "anyone",
	"GET /":                                    "anyone",
}

func TestEveryRouteForEveryCaller(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	fill := strings.NewReplacer("{namespace}", "default", "{pod}", "web", "{pubkey}", "0x"+strings.Repeat("ab", 48), "{id}", "file:00")
	require.Len(t, routes(), len(whoMay))
	for _, r := range routes() {
		name := r.method + " " + r.path
		roles, listed := whoMay[name]
		require.True(t, listed, name)
		for _, caller := range []Role{"", "wrong", RoleViewer, RoleOperator, RoleAdmin} {
			w := h.do(caller, r.method, fill.Replace(r.path), "")
			what := fmt.Sprintf("%s as %q: %s", name, caller, w.Body)
			switch {
			case roles == "anyone" || (caller != "" && strings.Contains(" "+roles+" ", " "+string(caller)+" ")):
				require.NotContains(t, []int{http.StatusUnauthorized, http.StatusForbidden}, w.Code, what)
			case caller == "" || caller == "wrong":
				requireProblem(t, w, http.StatusUnauthorized, unauthenticated, "")
				require.Contains(t, w.Header().Get("WWW-Authenticate"), `Bearer realm="keysteward"`)
			default:
				requireProblem(t, w, http.StatusForbidden, forbidden, "")
			}
		}
	}
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
	r := func() *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+h.tokens[RoleAdmin])
		return r
	}()
	_, err := h.server.authorize(access{}, r)
	require.ErrorContains(t, err, "forbidden")
}
