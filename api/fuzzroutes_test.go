package api

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/podtoken"
)

// Kinds of callers and of nodes that a fuzzed request may meet.
var (
	fuzzCallers = []Role{"", "wrong", RoleViewer, RoleOperator, RoleAdmin, RolePod, "limited", "certificate"}
	fuzzNodes   = []string{"leader", "follower", "nobody leads", "sealed"}
)

const (
	// fuzzPatience is when a caller goes away that is held.
	fuzzPatience = 20 * time.Millisecond
	// fuzzMemory is what one request may take, in bytes, answer and test included.
	fuzzMemory = 64 << 20
)

// FuzzRoutes: whatever is asked by whomever, every answer is one of openapi.yaml and
// no internal error, a caller changes nothing without a role for it, and no token is
// repeated.
func FuzzRoutes(f *testing.F) {
	for _, raw := range routeSeeds(f) {
		if !strings.HasPrefix(raw, http.MethodGet) {
			f.Add([]byte(raw), uint8(slices.Index(fuzzCallers, RoleViewer)), uint8(0))
		}
		f.Add([]byte(raw), uint8(slices.Index(fuzzCallers, RoleAdmin)), uint8(0))
	}
	f.Fuzz(func(t *testing.T, raw []byte, caller, kind uint8) {
		r := parsedRequest(raw)
		if r == nil {
			return // net/http answers these itself
		}
		h := seeded(t, withPods(map[string]podtoken.Pod{"mine": {Namespace: "default", Name: "mine", UID: "u-2"}}))
		h.tokens[RolePod] = podToken("mine")
		h.tokens["limited"] = h.state("limited", RoleOperator, time.Time{}, "other")
		h.node.must(&fsmpb.Command{Body: &fsmpb.Command_Allocate{Allocate: &fsmpb.Allocate{
			Pod: &fsmpb.Pod{Namespace: "default", Name: "web-0", Uid: "u-1"}, Keys: 1,
		}}})
		h.withCloud()
		h.ready()
		h.node.proposed = nil
		switch fuzzNodes[int(kind)%len(fuzzNodes)] {
		case "follower":
			h.node.follow("node-b", "https://b.example:7400")
		case "nobody leads":
			h.node.follow("", "")
		case "sealed":
			h.vault.sealUp("no key")
		}
		h.requireSound(r, fuzzCallers[int(caller)%len(fuzzCallers)])
	})
}

// sendAs gives the request what proves who the caller is.
func (h *harness) sendAs(caller Role, r *http.Request) {
	switch caller {
	case "":
	case "certificate":
		r.Header.Del("Authorization")
		certified(RoleViewer)(r)
	default:
		bearing(h.tokens[caller])(r)
	}
}

// parsedRequest reads a request as net/http's server does; nil if it would not hand
// it to us.
func parsedRequest(raw []byte) *http.Request {
	if bytes.HasPrefix(raw, []byte("CONNECT")) {
		return nil // its target has a form of its own, which openapi.yaml can not have
	}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil || r.ProtoMajor != 1 {
		return nil
	}
	control := func(c rune) bool { return c < ' ' || c > '~' }
	for _, values := range r.Header {
		if strings.ContainsFunc(r.Host+strings.Join(values, ""), control) {
			return nil
		}
	}
	return r
}

// requireSound sends the request as this caller and looks at all that came of it.
func (h *harness) requireSound(r *http.Request, caller Role) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), fuzzPatience)
	defer cancel()
	r = r.WithContext(ctx)
	r.RemoteAddr = h.remote
	h.sendAs(caller, r)
	state := h.node.View().Hash()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	w := httptest.NewRecorder()
	h.server.Handler().ServeHTTP(w, r)
	runtime.ReadMemStats(&after)
	require.Less(h, after.TotalAlloc-before.TotalAlloc, uint64(fuzzMemory))

	what := fmt.Sprintf("%s %q as %q: %d %s\n%s", r.Method, r.URL, caller, w.Code, w.Body, h.log)
	require.NotEqual(h, http.StatusInternalServerError, w.Code, what)
	require.NotContains(h, h.log.String(), "panicked", what)
	if r.Method != http.MethodHead && w.Code != statusClientGone {
		requireConforms(h.T, r, w)
	}
	discloses := r.Method == http.MethodGet && strings.Contains(r.URL.Path, "kubeconfig") && slices.Contains([]Role{RoleOperator, RoleAdmin}, caller)
	reads := r.Method == http.MethodHead || r.Method == http.MethodGet && !discloses
	if discloses {
		for _, c := range h.node.proposed {
			require.NotNil(h, c.GetDiscloseKubeconfig(), what)
		}
	} else if w.Code == http.StatusOK {
		require.NotContains(h, w.Body.String(), "client-key-data", what)
	}
	if reads || !slices.Contains([]Role{RoleOperator, RoleAdmin, RolePod, "limited"}, caller) {
		require.Zero(h, h.node.proposals(), what)
		require.Equal(h, state, h.node.View().Hash(), what)
	}
	for _, c := range h.node.proposed {
		touched := c.GetAllocate().GetPod().GetNamespace() + c.GetRelease().GetNamespace()
		name := c.GetAllocate().GetPod().GetName() + c.GetRelease().GetPod()
		if caller == RolePod {
			require.Equal(h, "default/mine", touched+"/"+name, what)
		}
		if caller == "limited" {
			require.Equal(h, "other", touched, what)
		}
	}
	if to := w.Header().Get("Location"); to != "" && w.Code == http.StatusTemporaryRedirect {
		u, err := url.Parse(to)
		require.NoError(h, err, what)
		require.Equal(h, "b.example:7400", u.Host, what)
	}
	for _, token := range h.tokens {
		require.NotContains(h, w.Body.String()+h.log.String(), token, what)
	}
}

// addCloudBodies adds bodies that are good for the routes under /v2.
func addCloudBodies(bodies map[string]string) {
	const form = "--x\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n{\"name\":\"one\"}\r\n--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n"
	file := testKubeconfig() + "\r\n--x--\r\n"
	bodies["POST "+providerPath+"/clusters"], bodies["PUT "+providerPath+"/clusters/{cluster}"] = form+file, form+file
	for name, own := range map[string][2]string{
		"project": {"p", "{project}"}, "provider": {"cp", ""}, "cloud": {"c", "{cloud}"}, "reference": {"r1", "{reference}"},
		"permission": {"view", "{permission}"}, "quota": {"q", "{quota}"}, "key-values": {"kv", "{keyValuesName}"},
	} {
		path := strings.NewReplacer("/p/", "/{project}/", "/c/", "/{cloud}/").Replace(jsonKinds[name].path)
		bodies["POST "+path] = withSpec(`{"name":"new"}`, jsonKinds[name].spec)
		bodies["PUT "+path+"/"+own[1]] = withSpec(`{"name":"`+own[0]+`"}`, jsonKinds[name].spec)
	}
}

// routeSeeds are a request for every route, those with a body with one that is good.
func routeSeeds(f *testing.F) (seeds []string) {
	f.Helper()
	sealedBody := `{"recipient":{"kem":32,"key":"` + strings.Repeat("A", 43) + `="},"sealed":{"kem":32,"ciphertext":"AAAA"}}`
	bodies := map[string]string{
		"POST /v1/allocations":                   body(nil),
		"POST /v1/keys/import":                   sealedBody,
		"POST /v1/keys/{pubkey}/confirm-stopped": `{"fence":1}`,
		"POST /v1/keys/{pubkey}/retire":          `{"reason":"exited"}`,
		"POST /v1/deposits/resume":               `{"chainId":1337,"account":"0x6163636f756e742d6f662d32302d627974657321","nonce":1}`,
		"PUT /v1/seed":                           sealedBody,
		"POST /v1/restore/confirm":               `{"number":1,"validatorsStopped":true}`,
		"POST /v1/tokens":                        `{"name":"ci","role":"operator","namespaces":["other"],"sha256":"` + strings.Repeat("ab", 32) + `"}`,
		"POST /v1/seal/keys":                     `{"id":"file:0123456789abcdef"}`,
	}
	addCloudBodies(bodies)
	fill := strings.NewReplacer("{namespace}", "default", "{pod}", "web-0", "{pubkey}", fmt.Sprintf("0x%x", pubkeys(0, 1)[0]), "{id}", "file:00",
		"{project}", "p", "{cloud}", "c", "{reference}", "r1", "{provider}", "cp", "{cluster}", "one", "{permission}", "view", "{quota}", "q", "{keyValuesName}", "kv")
	for _, r := range routes() {
		target := []string{fill.Replace(r.path)}
		media := "application/json"
		if strings.HasPrefix(bodies[r.method+" "+r.path], "--") {
			media = "multipart/form-data; boundary=x"
		}
		for i, name := range r.query {
			value := map[string]string{"fence": "1", "wait": "1s", "consistency": "stale", "limit": "2", "confirmStopped": "true", "exec": "false", "forceOlder": "true"}[name]
			target = append(target, map[bool]string{true: "?", false: "&"}[i == 0], name, "=", value)
		}
		seeds = append(seeds, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: a.example\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
			r.method, strings.Join(target, ""), media, len(bodies[r.method+" "+r.path]), bodies[r.method+" "+r.path]))
	}
	require.NotEmpty(f, seeds)
	return append(seeds,
		"DELETE /v1/allocations/default/web-0?fence=1&podUid=u-1&confirmStopped=true HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET http://b.example/../v1//keys?x=%zz HTTP/1.0\r\nX-Request-Id: \"<b>\"\r\nForwarded: for=\"[::1]\"\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n",
		"POST /v1/allocations?wait=60s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json;charset=\"utf-8\"\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n0\r\n\r\n",
		"PATCH /v1/keys HTTP/1.1\r\nHost: a\r\nAccept: text/html;q=x, */*\r\nAuthorization: Basic AAAA\r\n\r\n",
		"HEAD //evil.example/v1/seal/keys/%2e%2e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nAuthorization: Bearer \r\n\r\n",
	)
}
