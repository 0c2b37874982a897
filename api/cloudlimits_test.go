package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
)

// What limited callers may under /v2: nothing without a project, with projects what is
// below them and the names of what they refer to.
func TestProjectsOfLimitedCallers(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, role := range givenRoles {
		mine := h.limited(role, nil, []string{"mine", "other"})
		both := h.limited(role, []string{"default"}, []string{"mine"})
		elsewhere := h.limited(role, []string{"default", "mine"}, nil)
		for _, r := range routes() {
			name := r.method + " " + r.path
			may, under := whoMayClouds[name]
			if !under {
				continue
			}
			letIn := has(may.roles, string(role))
			requireDecision(t, letIn && may.limited != nothing, h.visit(r, "mine", mine), name+" with a project as "+string(role))
			requireDecision(t, letIn && may.limited != nothing, h.visit(r, "mine", both), name+" with a project and a namespace as "+string(role))
			requireDecision(t, letIn && may.limited == shown, h.visit(r, "default", mine), name+" in another project as "+string(role))
			requireDecision(t, false, h.visit(r, "mine", elsewhere), name+" with namespaces only as "+string(role))
		}
	}
}

// A project opens nothing under /v1.
func TestProjectsOpenNoNamespace(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, role := range givenRoles {
		mine := h.limited(role, nil, []string{"default"})
		for _, r := range routes() {
			name := r.method + " " + r.path
			may, listed := whoMay[name]
			if !listed {
				continue
			}
			letIn := may.roles == "anyone" || has(may.roles, string(role)) && may.limited == shown
			requireDecision(t, letIn, h.visit(r, "default", mine), name+" as "+string(role))
		}
	}
}

func TestWhatLimitedCallersSeeOfClouds(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.withCloud()
	h.made("/v2/projects", `{"metadata":{"name":"q"}}`)
	as := h.limited(RoleOperator, nil, []string{"p", "new"})
	get := func(path string) *responseRecorder { return h.do("", http.MethodGet, path, "", as) }
	require.Equal(t, []wire.Project{{Metadata: wire.ObjectMetadata{Name: "p"}}}, read[[]wire.Project](t, get("/v2/projects")))
	require.JSONEq(t, `{"metadata":{"name":"one","description":"a cluster"}}`, get("/v2/cluster-providers/cp/clusters/one").Body.String(), "its name only")
	require.NotContains(t, get("/v2/cluster-providers/cp/clusters").Body.String(), "kube.example")
	for _, path := range []string{"/v2/projects/q", "/v2/projects/q/logical-clouds", "/v2/projects/none", "/v2/projects/q/logical-clouds/c/kubeconfig"} {
		requireProblem(t, get(path), http.StatusForbidden, forbidden, "")
	}
	require.Equal(t, http.StatusCreated, h.do("", http.MethodPost, "/v2/projects", `{"metadata":{"name":"new"}}`, as).Code)
	w := h.form("", http.MethodPost, "/v2/cluster-providers/cp/clusters", goodForm("three"), as)
	requireProblem(t, w, http.StatusForbidden, forbidden, "")
}

// A limited caller gives the users of its clouds nothing outside of the clouds' own
// namespaces, whichever way it goes.
func TestPermissionsOfLimitedCallers(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.withCloud()
	as := h.limited(RoleOperator, nil, []string{"p"})
	code := func(method, path, body string) int {
		w := h.do("", method, path, body, as)
		if w.Code == http.StatusForbidden {
			requireProblem(t, w, http.StatusForbidden, forbidden, "")
		}
		return w.Code
	}
	const permissions = cloudUnderTest + "/user-permissions"
	require.Equal(t, http.StatusCreated, code(http.MethodPost, permissions, permission("mine", "ns")))
	require.Equal(t, http.StatusForbidden, code(http.MethodPost, permissions, permission("x", "other")))
	require.Equal(t, http.StatusForbidden, code(http.MethodPost, permissions, permission("x", "")), "cluster-wide")
	require.Equal(t, http.StatusForbidden, code(http.MethodPut, permissions+"/mine", permission("mine", "other")))
	require.Equal(t, http.StatusForbidden, code(http.MethodPut, permissions+"/view", permission("view", "")))
	require.Equal(t, http.StatusNotFound, code(http.MethodPost, strings.Replace(permissions, "/c/", "/none/", 1), permission("x", "ns")))

	cloud := func(namespace string) string {
		return `{"metadata":{"name":"c"},"spec":{"namespace":"` + namespace + `","user":{"userName":"joe"}}}`
	}
	require.Equal(t, http.StatusForbidden, code(http.MethodPut, cloudUnderTest, cloud("other")), "its permission would stay where it is")
	require.Equal(t, http.StatusOK, code(http.MethodPut, cloudUnderTest, cloud("ns")))
	require.Equal(t, http.StatusNoContent, code(http.MethodDelete, cloudUnderTest, ""))
	require.Equal(t, http.StatusCreated, code(http.MethodPost, "/v2/projects/p/logical-clouds", cloud("other")))

	as = h.limited(RoleOperator, []string{"a", "b"}, []string{"p"})
	require.Equal(t, http.StatusForbidden, code(http.MethodPost, "/v2/projects/p/logical-clouds", strings.Replace(cloud("ns"), `"c"`, `"d"`, 1)))
	require.Equal(t, http.StatusCreated, code(http.MethodPost, "/v2/projects/p/logical-clouds", strings.Replace(cloud("b"), `"c"`, `"d"`, 1)))
	require.Equal(t, http.StatusForbidden, code(http.MethodPut, "/v2/projects/p/logical-clouds/c", cloud("ns")))
}

// Changes of limited callers are decided one after the other: what one is decided on
// is not changed by another one before it is made.
func TestLimitedChangesWaitForEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.withCloud()
		as := h.limited(RoleOperator, nil, []string{"p"})
		send := func(done chan<- int, method, path, body string) {
			done <- h.do("", method, path, body, as).Code
		}
		decided, blocked := make(chan struct{}), true
		h.node.onPropose = func(apply func() (any, error)) (any, error) {
			if blocked {
				blocked = false
				<-decided
			}
			return apply()
		}
		permitted, deleted, before := make(chan int, 1), make(chan int, 1), h.node.proposals()
		go send(permitted, http.MethodPost, cloudUnderTest+"/user-permissions", permission("x", "ns"))
		synctest.Wait()
		go send(deleted, http.MethodDelete, cloudUnderTest, "")
		synctest.Wait()
		require.Equal(t, before+1, h.node.proposals(), "the second one waits")
		require.Equal(t, http.StatusCreated, h.do(RoleAdmin, http.MethodPost, cloudUnderTest+"/user-permissions", permission("y", "")).Code, "others do not")
		close(decided)
		require.Equal(t, []int{http.StatusCreated, http.StatusNoContent}, []int{<-permitted, <-deleted})
		h.server.stop()
	})
}

func TestTokensNameProjectsAsTheyAre(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	token := func(project string) *responseRecorder {
		body, err := json.Marshal(map[string]any{"name": "ci", "role": "operator", "projects": []string{project}, "sha256": strings.Repeat("ab", 32)})
		require.NoError(t, err)
		return h.do(RoleAdmin, http.MethodPost, "/v1/tokens", string(body))
	}
	require.Equal(t, http.StatusOK, token("Team_A.b"+strings.Repeat("x", 120)).Code)
	requireProblem(t, token(strings.Repeat("x", 129)), http.StatusBadRequest, invalidField, "projects")
}
