package api

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes"
	"github.com/keysteward/keysteward/node/kubernetes/kubetest"
	"github.com/keysteward/keysteward/node/kubernetes/podtoken"
)

// asPod is the pod default/web in its second life, and its neighbour.
func asPod(t *testing.T) *harness {
	t.Helper()
	return seeded(t, withPods(map[string]podtoken.Pod{
		"web-1":  {Namespace: "default", Name: "web", UID: "uid-1"},
		"web-2":  {Namespace: "default", Name: "web", UID: "uid-2"},
		"db":     {Namespace: "default", Name: "db", UID: "uid-3"},
		"abroad": {Namespace: "other", Name: "web", UID: "uid-4"},
	}))
}

func (h *harness) postAs(token, body string) *httptest.ResponseRecorder {
	h.Helper()
	return h.do("", http.MethodPost, "/v1/allocations", body, bearing(token))
}

func TestPodAsksForItself(t *testing.T) {
	t.Parallel()
	h := asPod(t)
	web := podToken("web-1")
	require.Equal(t, http.StatusAccepted, h.postAs(web, `{"keys":2}`).Code)
	h.node.finish()
	w := h.postAs(web, `{"keys":2,"namespace":"default","pod":"web","podUid":"uid-1"}`)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	a := read[wire.Allocation](t, w)
	require.Equal(t, []string{"default", "web", "uid-1"}, []string{a.Namespace, a.Pod, a.PodUID}, "as Kubernetes says")
	by := h.by()
	require.Equal(t, []string{"default/web", "pod", "pod", "uid-1 of system:serviceaccount:default:", "192.0.2.1"}, []string{by.GetName(), by.GetRole(), by.GetMethod(), by.GetCredential(), by.GetRemote()})

	for _, body := range []string{
		`{"keys":2,"namespace":"other"}`, `{"keys":2,"pod":"db"}`, `{"keys":2,"podUid":"uid-2"}`,
		`{"keys":2,"namespace":"default","pod":"web","podUid":"uid-2"}`,
	} {
		proposals := h.node.proposals()
		requireProblem(t, h.postAs(web, body), http.StatusForbidden, forbidden, "")
		require.Equal(t, proposals, h.node.proposals(), body)
	}
	requireProblem(t, h.do(RoleOperator, http.MethodPost, "/v1/allocations", `{"keys":2}`), http.StatusBadRequest, invalidField, "namespace")
	requireProblem(t, h.do(RoleOperator, http.MethodPost, "/v1/allocations", `{"keys":2,"namespace":"default","pod":"web"}`), http.StatusBadRequest, invalidField, "podUid")
}

func TestPodSeesItsOwnOnly(t *testing.T) {
	t.Parallel()
	h := asPod(t)
	mine, theirs := h.held("web", "uid-1", 2), h.held("db", "uid-3", 1)
	get := func(path string) int {
		return h.do("", http.MethodGet, path, "", bearing(podToken("web-1"))).Code
	}
	require.Equal(t, http.StatusOK, get("/v1/allocations/default/web"))
	require.Equal(t, http.StatusForbidden, get("/v1/allocations/default/db"))
	require.Equal(t, http.StatusForbidden, get("/v1/allocations/other/web"))
	require.Equal(t, http.StatusForbidden, get("/v1/allocations"))
	require.Equal(t, http.StatusOK, get("/v1/cluster"), "it has to find the leader")
	require.Equal(t, http.StatusOK, get("/v1/keys/"+mine.Keys[0]))
	require.Equal(t, http.StatusNotFound, get("/v1/keys/"+theirs.Keys[0]), "it is not told that there is such a key")
	h.node.must(&fsmpb.Command{Body: &fsmpb.Command_RetireKeys{RetireKeys: &fsmpb.RetireKeys{
		Pubkeys: [][]byte{pubkeys(0, 1)[0]}, Reason: "exited",
	}}})
	require.Equal(t, http.StatusOK, get("/v1/keys/"+hexText(pubkeys(0, 1)[0])), "it has to learn that a key is retired")
}

func TestPodReleasesItself(t *testing.T) {
	t.Parallel()
	h := asPod(t)
	a := h.held("web", "uid-1", 1)
	release := func(token, name, more string) *httptest.ResponseRecorder {
		return h.do("", http.MethodDelete, fmt.Sprintf("/v1/allocations/default/%s?fence=%d%s", name, a.Fence, more), "", bearing(podToken(token)))
	}
	proposals := h.node.proposals()
	requireProblem(t, release("db", "web", ""), http.StatusForbidden, forbidden, "")
	requireProblem(t, release("abroad", "web", ""), http.StatusForbidden, forbidden, "")
	requireProblem(t, release("web-1", "web", "&podUid=uid-2"), http.StatusForbidden, forbidden, "")
	requireProblem(t, release("web-1", "web", "&podUid=uid-1&confirmStopped=true"), http.StatusForbidden, forbidden, "")
	require.Equal(t, proposals, h.node.proposals())
	requireProblem(t, release("web-2", "web", ""), http.StatusNotFound, notFound, "")
	require.NotNil(t, h.node.View().Allocation("default", "web"), "its next life can not give it back")
	require.Equal(t, http.StatusNoContent, release("web-1", "web", "").Code)
	require.Nil(t, h.node.View().Allocation("default", "web"))
}

func TestKubernetesAwayConcernsPodsOnly(t *testing.T) {
	t.Parallel()
	h := asPod(t)
	for range 2 * failuresBurst { // which are no failed logins
		w := h.postAs(podToken("away"), `{"keys":1}`)
		requireProblem(t, w, http.StatusServiceUnavailable, kubernetesAway, "")
		require.NotEmpty(t, w.Header().Get("Retry-After"))
		require.Empty(t, w.Header().Get("WWW-Authenticate"))
	}
	require.Equal(t, http.StatusAccepted, h.allocate("p", "u", 1, "").Code)
	without := newHarness(t)
	requireProblem(t, without.postAs(podToken("web-1"), `{"keys":1}`), http.StatusUnauthorized, unauthenticated, "")
}

// TestPodsOfKubernetes goes the whole way with tokens of a real API server.
func TestPodsOfKubernetes(t *testing.T) {
	t.Parallel()
	k := kubetest.Start(t)
	config, err := kubernetes.Config(k.Kubeconfig)
	require.NoError(t, err)
	const audience = "keysteward"
	log := &lockedBuffer{}
	reviewer, err := kubernetes.NewReviewer(config, audience, slog.New(slog.NewTextHandler(log, nil)))
	require.NoError(t, err)
	h := seeded(t, func(c *Config) { c.PodTokens, c.Pods = podtoken.NewCache(reviewer, audience), anyPod })

	uid := k.CreatePod("default", "web")
	token := k.PodToken("default", "web", uid, audience)
	require.Equal(t, http.StatusAccepted, h.postAs(token, `{"keys":2}`).Code)
	h.node.finish()
	w := h.postAs(token, `{"keys":2}`)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, uid, read[wire.Allocation](t, w).PodUID)
	named, err := json.Marshal(wire.AllocationRequest{Namespace: "default", Pod: "web", PodUID: uid, Keys: 2})
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, h.postAs(token, string(named)).Code)

	other := k.CreatePod("default", "other")
	requireProblem(t, h.postAs(k.PodToken("default", "other", other, audience), string(named)), http.StatusForbidden, forbidden, "")
	refused := map[string]string{
		"for the API server": k.PodToken("default", "web", uid),
		"expired":            k.Sign(token, func(c map[string]any) { c["exp"] = time.Now().Add(-2 * time.Minute).Unix() }),
		"altered":            token[:len(token)-8] + "AAAAAAAA",
		"of no pod":          k.AccountToken("default", audience),
	}
	k.DeletePod("default", "other")
	k.CreatePod("default", "other")
	gone := k.Sign(k.PodToken("default", "web", uid, audience), func(c map[string]any) {
		c["kubernetes.io"].(map[string]any)["pod"] = map[string]any{"name": "other", "uid": other} //nolint:forcetypeassert // so it was made
	})
	refused["of a pod that was deleted"] = gone
	for name, token := range refused {
		p := requireProblem(t, h.postAs(token, `{"keys":1}`), http.StatusUnauthorized, unauthenticated, "")
		require.NotContains(t, p.Detail, "eyJ", name)
	}

	k.Stop()
	fresh := k.Sign(token, func(c map[string]any) { c["jti"] = "another" })
	requireProblem(t, h.postAs(fresh, `{"keys":2}`), http.StatusServiceUnavailable, kubernetesAway, "")
	require.Equal(t, http.StatusOK, h.get("/v1/keys").Code, "others do not notice")
	for _, text := range []string{log.String(), h.log.String()} {
		require.NotContains(t, text, "eyJ", "no token is logged")
	}
}
