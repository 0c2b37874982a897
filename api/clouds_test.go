package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// kinds of objects that are sent in JSON: where they are, and one that is good.
var jsonKinds = map[string]struct{ path, spec string }{
	"project":    {"/v2/projects", ""},
	"provider":   {"/v2/cluster-providers", ""},
	"cloud":      {"/v2/projects/p/logical-clouds", `{"namespace":"other","level":"1","labels":{"team":"a"},"user":{"userName":"joe","type":"certificate"},"keyAlgorithm":"Ed25519","expirationSeconds":3600}`},
	"reference":  {cloudUnderTest + "/cluster-references", `{"clusterProvider":"cp","cluster":"one","loadBalancerIP":"10.10.10.6"}`},
	"permission": {cloudUnderTest + "/user-permissions", `{"namespace":"ns","apiGroups":["","apps"],"resources":["*"],"verbs":["get"]}`},
	"quota":      {cloudUnderTest + "/cluster-quotas", `{"limits.cpu":"4","requests.memory":"16Gi","count/deployments.apps":"3"}`},
	"key-values": {cloudUnderTest + "/kv-pairs", `{"kv":[{"a":{"b":[1,2.50,12345678901234567890]}},{"c":"ü"}]}`},
}

func withSpec(metadata, spec string) string {
	if spec == "" {
		return `{"metadata":` + metadata + `}`
	}
	return `{"metadata":` + metadata + `,"spec":` + spec + `}`
}

// Every kind goes the same way: it is created, read, changed and deleted, with the
// codes of the table.
func TestEveryKindOfObject(t *testing.T) {
	t.Parallel()
	for name, k := range jsonKinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.withCloud()
			one := k.path + "/x.Y_1"
			h.requireNone(one)
			good := withSpec(`{"name":"x.Y_1","description":"d","userData1":"1","userData2":"2"}`, k.spec)
			require.JSONEq(t, good, h.made(k.path, good).Body.String(), "the echo is what is kept")
			requireProblem(t, h.do(RoleAdmin, http.MethodPost, k.path, good), http.StatusConflict, exists, "")

			got := h.get(one)
			require.Equal(t, http.StatusOK, got.Code)
			require.JSONEq(t, strings.ReplaceAll(good, `"Ed25519","expirationSeconds":3600}`, `"Ed25519","expirationSeconds":3600},"status":{"state":"Created","generation":0}`), got.Body.String())
			var list []json.RawMessage
			require.NoError(t, json.Unmarshal(h.get(k.path).Body.Bytes(), &list))
			require.Equal(t, strings.TrimSpace(got.Body.String()), string(list[len(list)-1]), "sorted by name")
			h.requireNone(k.path + "/none")

			if name != "provider" { // which has nothing to change
				changed := strings.Replace(good, `"d"`, `"another"`, 1)
				w := h.do(RoleOperator, http.MethodPut, one, changed)
				require.Equal(t, http.StatusOK, w.Code, w.Body)
				require.JSONEq(t, changed, w.Body.String())
				requireProblem(t, h.do(RoleAdmin, http.MethodPut, k.path+"/none", strings.Replace(good, "x.Y_1", "none", 1)), http.StatusNotFound, notFound, "")
				requireProblem(t, h.do(RoleAdmin, http.MethodPut, k.path+"/other", good), http.StatusBadRequest, invalidField, "metadata.name")
			}
			require.Equal(t, http.StatusNoContent, h.do(RoleAdmin, http.MethodDelete, one, "").Code)
			requireProblem(t, h.do(RoleAdmin, http.MethodDelete, one, ""), http.StatusNotFound, notFound, "")
			h.requireNone(one)
		})
	}
}

func (h *harness) requireNone(path string) {
	h.Helper()
	requireProblem(h.T, h.get(path), http.StatusNotFound, notFound, "")
}

// Bodies that are refused, of every kind, and what is said of them.
func TestBodiesUnderV2(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.withCloud()
	before := h.node.View().Hash()
	long := func(n int) string { return strings.Repeat("n", n) }
	for name, k := range jsonKinds {
		good := withSpec(`{"name":"x"}`, k.spec)
		for what, c := range map[string]struct {
			body  string
			code  int
			kind  kind
			field string
		}{
			"nothing":             {"", http.StatusBadRequest, malformedBody, ""},
			"blanks":              {"  \n", http.StatusBadRequest, malformedBody, ""},
			"cut off":             {good[:len(good)-1], http.StatusUnprocessableEntity, malformedJSON, ""},
			"no JSON":             {"metadata: {name: x}", http.StatusUnprocessableEntity, malformedJSON, ""},
			"more":                {good + "{}", http.StatusUnprocessableEntity, malformedJSON, ""},
			"not UTF-8":           {strings.Replace(good, `"x"`, "\"\xff\"", 1), http.StatusUnprocessableEntity, malformedJSON, ""},
			"an array":            {"[" + good + "]", http.StatusBadRequest, malformedBody, ""},
			"null":                {"null", http.StatusBadRequest, malformedBody, ""},
			"no metadata":         {withSpec("null", k.spec), http.StatusBadRequest, invalidField, "metadata.name"},
			"empty object":        {"{}", http.StatusBadRequest, invalidField, "metadata.name"},
			"no name":             {withSpec(`{"description":"d"}`, k.spec), http.StatusBadRequest, invalidField, "metadata.name"},
			"empty name":          {withSpec(`{"name":""}`, k.spec), http.StatusBadRequest, invalidField, "metadata.name"},
			"a slash":             {withSpec(`{"name":"a/b"}`, k.spec), http.StatusBadRequest, invalidField, "metadata.name"},
			"a dash in the end":   {withSpec(`{"name":"a-"}`, k.spec), http.StatusBadRequest, invalidField, "metadata.name"},
			"a line break":        {withSpec(`{"name":"a\n"}`, k.spec), http.StatusBadRequest, invalidField, "metadata.name"},
			"a long name":         {withSpec(`{"name":"`+long(129)+`"}`, k.spec), http.StatusBadRequest, invalidField, "metadata.name"},
			"a number as name":    {withSpec(`{"name":1}`, k.spec), http.StatusBadRequest, invalidField, "metadata.name"},
			"metadata of text":    {withSpec(`"x"`, k.spec), http.StatusBadRequest, invalidField, "metadata"},
			"long description":    {withSpec(`{"name":"x","description":"`+long(1025)+`"}`, k.spec), http.StatusBadRequest, invalidField, "metadata.description"},
			"long userData1":      {withSpec(`{"name":"x","userData1":"`+long(513)+`"}`, k.spec), http.StatusBadRequest, invalidField, "metadata.userData1"},
			"long userData2":      {withSpec(`{"name":"x","userData2":"`+long(513)+`"}`, k.spec), http.StatusBadRequest, invalidField, "metadata.userData2"},
			"unknown in metadata": {withSpec(`{"name":"x","colour":1}`, k.spec), http.StatusBadRequest, invalidField, "metadata.colour"},
			"unknown":             {good[:len(good)-1] + `,"colour":1}`, http.StatusBadRequest, invalidField, "colour"},
			"another case":        {strings.Replace(good, "metadata", "Metadata", 1), http.StatusBadRequest, invalidField, "metadata.name"},
			"twice":               {good[:len(good)-1] + `,"metadata":{"name":"x"}}`, http.StatusBadRequest, invalidField, "metadata"},
			"twice inside":        {withSpec(`{"name":"x","name":"x"}`, k.spec), http.StatusBadRequest, invalidField, "metadata.name"},
			"too large":           {withSpec(`{"name":"x"}`, `"`+long(maxBody)+`"`), http.StatusRequestEntityTooLarge, bodyTooLarge, ""},
		} {
			requireProblem(t, h.do(RoleAdmin, http.MethodPost, k.path, c.body), c.code, c.kind, c.field)
			require.NotEmpty(t, what+name)
		}
		for _, media := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "application/json; charset=latin1"} {
			requireProblem(t, h.do(RoleAdmin, http.MethodPost, k.path, good, header("Content-Type", media)), http.StatusUnsupportedMediaType, unsupportedMedia, "Content-Type")
		}
	}
	require.Equal(t, before, h.node.View().Hash())
}

func TestNamesAtTheirLimits(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.withCloud()
	for name, k := range jsonKinds {
		for _, n := range []string{"a", "9", strings.Repeat("n", 128), "a" + strings.Repeat("._-", 42) + "Z"} {
			require.LessOrEqual(t, len(n), 128)
			text := withSpec(fmt.Sprintf(`{"name":%q,"description":%q,"userData1":%q}`, n, strings.Repeat("ü", 1024), strings.Repeat("ü", 512)), k.spec)
			h.made(k.path, text)
			require.Equal(t, http.StatusOK, h.get(k.path+"/"+n).Code, name)
		}
	}
}

// What is wrong with a spec is named by its field, in both spellings.
func TestSpecsThatAreRefused(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.withCloud()
	cloud := func(change string) string {
		all := map[string]string{"namespace": `"ns"`, "user": `{"userName":"jane"}`}
		var changes map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(change), &changes), change)
		for name, value := range changes {
			all[name] = string(value)
		}
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(all)) {
			parts = append(parts, fmt.Sprintf("%q:%s", name, all[name]))
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	many := `"a"` + strings.Repeat(`,"a"`, 64)
	for kind, specs := range map[string]map[string][]string{
		"cloud": {
			"spec.namespace":              {cloud(`{"namespace":""}`), cloud(`{"namespace":null}`), cloud(`{"namespace":"Ns"}`), cloud(`{"namespace":"kube-system"}`), cloud(`{"namespace":"` + strings.Repeat("a", 64) + `"}`), cloud(`{"namespace":7}`)},
			"spec.level":                  {cloud(`{"level":"0"}`), cloud(`{"level":"2"}`), `{"level":"0"}`, cloud(`{"level":1}`)},
			"spec.user":                   {cloud(`{"user":"jane"}`)},
			"spec.user.userName":          {cloud(`{"user":{}}`), cloud(`{"user":null}`), cloud(`{"user":{"userName":"system:admin"}}`), cloud(`{"user":{"userName":"SYSTEM:masters"}}`), cloud(`{"user":{"user-name":"system"}}`), cloud(`{"user":{"userName":"` + strings.Repeat("u", 129) + `"}}`), cloud(`{"user":{"userName":"a\nb"}}`)},
			"spec.user.user-name":         {cloud(`{"user":{"userName":"a","user-name":"a"}}`)},
			"spec.user.type":              {cloud(`{"user":{"userName":"jane","type":"token"}}`)},
			"spec.user.certificate":       {cloud(`{"user":{"userName":"jane","certificate":"x"}}`)},
			"spec.labels":                 {cloud(`{"labels":["a"]}`)},
			"spec.labels.keysteward.io/x": {cloud(`{"labels":{"keysteward.io/x":"y"}}`)},
			"spec.labels.kubernetes.io/x": {cloud(`{"labels":{"kubernetes.io/x":"y"}}`)},
			"spec.labels.pod-security.kubernetes.io/enforce": {cloud(`{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}`)},
			"spec.labels.-a":         {cloud(`{"labels":{"-a":"y"}}`)},
			"spec.labels.a":          {cloud(`{"labels":{"a":"b c"}}`), cloud(`{"labels":{"a":1}}`), cloud(`{"labels":{"a":null}}`)},
			"spec.keyAlgorithm":      {cloud(`{"keyAlgorithm":"RSA-1024"}`), cloud(`{"keyAlgorithm":1}`)},
			"spec.expirationSeconds": {cloud(`{"expirationSeconds":599}`), cloud(`{"expirationSeconds":-600}`), cloud(`{"expirationSeconds":315360001}`), cloud(`{"expirationSeconds":"600"}`), cloud(`{"expirationSeconds":600.5}`)},
			"spec.colour":            {cloud(`{"colour":1}`)},
		},
		"reference": {
			"spec.clusterProvider":  {`{"cluster":"one"}`, `{"clusterProvider":"a/b","cluster":"one"}`, "null"},
			"spec.cluster-provider": {`{"clusterProvider":"cp","cluster-provider":"cp","cluster":"one"}`},
			"spec.cluster":          {`{"clusterProvider":"cp"}`, `{"clusterProvider":"cp","cluster":1}`},
			"spec.cluster-name":     {`{"clusterProvider":"cp","cluster":"one","cluster-name":"one"}`},
			"spec.loadBalancerIP":   {`{"clusterProvider":"cp","cluster":"one","loadBalancerIP":"lb.example"}`},
			"spec.loadbalancer-ip":  {`{"clusterProvider":"cp","cluster":"one","loadBalancerIP":"::1","loadbalancer-ip":"::1"}`},
			"spec.certificate":      {`{"clusterProvider":"cp","cluster":"one","certificate":"LS0t"}`},
		},
		"permission": {
			"spec.namespace": {`{"namespace":"Ns","resources":["pods"],"verbs":["get"]}`},
			"spec.resources": {`{"namespace":"ns","verbs":["get"]}`, `{"resources":[],"verbs":["get"]}`, `{"resources":[""],"verbs":["get"]}`, `{"resources":["po ds"],"verbs":["get"]}`, `{"resources":"pods","verbs":["get"]}`, `{"resources":[1],"verbs":["get"]}`, `{"resources":[null],"verbs":["get"]}`, `{"resources":[` + many + `],"verbs":["get"]}`},
			"spec.verbs":     {`{"resources":["pods"]}`, `{"resources":["pods"],"verbs":[]}`, `{"resources":["pods"],"verbs":["` + strings.Repeat("g", 254) + `"]}`},
			"spec.apiGroups": {`{"resources":["pods"],"verbs":["get"],"apiGroups":["a\tb"]}`},
		},
		"quota": {
			"spec":            {"null", "{}", `["limits.cpu"]`},
			"spec.limits.cpu": {`{"limits.cpu":4}`, `{"limits.cpu":"four"}`, `{"limits.cpu":""}`, `{"limits.cpu":"-1"}`, `{"limits.cpu":null}`},
			"spec.a b":        {`{"a b":"1"}`},
		},
		"key-values": {
			"spec.kv":      {`{"kv":{}}`, `{"kv":"a"}`},
			"spec.kv[1]":   {`{"kv":[{},"a"]}`, `{"kv":[{},null]}`},
			"spec.kv[0].a": {`{"kv":[{"a":1,"a":2}]}`},
			"spec.colour":  {`{"kv":[],"colour":1}`},
		},
	} {
		for field, list := range specs {
			for _, spec := range list {
				w := h.do(RoleAdmin, http.MethodPost, jsonKinds[kind].path, withSpec(`{"name":"x"}`, spec))
				require.Equal(t, http.StatusBadRequest, w.Code, "%s: %s", spec, w.Body)
				requireProblem(t, w, http.StatusBadRequest, invalidField, field)
			}
		}
	}
}

func TestBothSpellings(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.withCloud()
	w := h.made("/v2/projects/p/logical-clouds", `{"metadata":{"name":"old"},"spec":{"namespace":"ns1","level":"1","user":{"user-name":"user-1","type":"certificate"}}}`)
	got := read[wire.LogicalCloud](t, w)
	require.Equal(t, wire.CloudUser{UserName: "user-1", Type: "certificate"}, got.Spec.User)
	require.Equal(t, wire.KeyAlgorithmECDSAP256, got.Spec.KeyAlgorithm, "the default")
	r := h.made("/v2/projects/p/logical-clouds/old/cluster-references", `{"metadata":{"name":"r"},"spec":{"cluster-provider":"cp","cluster-name":"two","loadbalancer-ip":"10.0.0.1"}}`)
	require.Equal(t, wire.ClusterReferenceSpec{ClusterProvider: "cp", Cluster: "two", LoadBalancerIP: "10.0.0.1"}, read[wire.ClusterReference](t, r).Spec)
	wide := h.made("/v2/projects/p/logical-clouds/old/user-permissions", `{"metadata":{"name":"x"},"spec":{"namespace":"","resources":["nodes"],"verbs":["*"]}}`)
	require.Equal(t, wire.UserPermissionSpec{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"*"}}, read[wire.UserPermission](t, wide).Spec)

	read := h.get("/v2/projects/p/logical-clouds/old").Body.String()
	require.Equal(t, http.StatusOK, h.do(RoleAdmin, http.MethodPut, "/v2/projects/p/logical-clouds/old", read).Code, "what is read can be sent back")
}

// What is below something that is not there is not there.
func TestParentsThatAreNotThere(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.withCloud()
	for name, k := range jsonKinds {
		good := withSpec(`{"name":"x"}`, k.spec)
		for _, gone := range []string{"none", "bad~name", "a%2Fb", "%00", "."} {
			path := strings.Replace(k.path, "/p/", "/"+gone+"/", 1)
			other := strings.Replace(k.path, "/c/", "/"+gone+"/", 1)
			for _, p := range []string{path, other} {
				if p == k.path {
					continue
				}
				for _, method := range []string{http.MethodPost, http.MethodGet} {
					w := h.do(RoleAdmin, method, p, map[bool]string{true: good}[method == http.MethodPost])
					require.Equal(t, http.StatusNotFound, w.Code, "%s %s %s: %s", name, method, p, w.Body)
				}
			}
		}
	}
	w := h.do(RoleAdmin, http.MethodPost, cloudUnderTest+"/cluster-references", reference("x", "three"))
	requireProblem(t, w, http.StatusNotFound, notFound, "")
	for _, action := range []string{"instantiate", "update", "terminate", "rotate-key"} {
		requireProblem(t, h.do(RoleAdmin, http.MethodPost, "/v2/projects/p/logical-clouds/none/"+action, ""), http.StatusNotFound, notFound, "")
	}
	h.requireNone("/v2/projects/p/logical-clouds/none/status")
}

func TestRepeatedCreation(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	const body, other = `{"metadata":{"name":"p","description":"d"}}`, `{"metadata":{"name":"p","description":"other"}}`
	key := header("Idempotency-Key", "2f1c 77")
	post := func(role Role, body string, options ...requestOption) int {
		w := h.do(role, http.MethodPost, "/v2/projects", body, options...)
		if w.Code == http.StatusCreated {
			require.JSONEq(t, body, w.Body.String(), "never empty")
		}
		return w.Code
	}
	require.Equal(t, http.StatusCreated, post(RoleAdmin, body, key))
	require.Equal(t, http.StatusCreated, post(RoleAdmin, body, key), "the same request")
	require.Equal(t, http.StatusConflict, post(RoleAdmin, body), "without the key")
	require.Equal(t, http.StatusConflict, post(RoleAdmin, other, key), "another content")
	require.Equal(t, http.StatusConflict, post(RoleAdmin, body, header("Idempotency-Key", "another")))
	require.Equal(t, http.StatusConflict, post(RoleOperator, body, key), "somebody else's key")
	require.Equal(t, "d", h.node.View().Project("p").GetMetadata().GetDescription())
	for _, bad := range []string{"", strings.Repeat("k", 256), "ü", "a\tb"} {
		w := h.do(RoleAdmin, http.MethodPost, "/v2/projects", `{"metadata":{"name":"q"}}`, header("Idempotency-Key", bad))
		requireProblem(t, w, http.StatusBadRequest, invalidField, "Idempotency-Key")
	}
	form := func() int {
		return h.form(RoleAdmin, http.MethodPost, "/v2/cluster-providers/cp/clusters", goodForm("one"), key).Code
	}
	h.made("/v2/cluster-providers", `{"metadata":{"name":"cp"}}`)
	require.Equal(t, []int{http.StatusCreated, http.StatusCreated}, []int{form(), form()})
}

// What the state machine refuses is told as a problem of its own.
func TestRefusalsUnderV2(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.withCloud()
	refused := func(method, path, body string, code int, k kind) {
		t.Helper()
		requireProblem(t, h.do(RoleAdmin, method, path, body), code, k, "")
	}
	refused(http.MethodDelete, "/v2/projects/p", "", http.StatusConflict, inUse)
	refused(http.MethodDelete, "/v2/cluster-providers/cp", "", http.StatusConflict, inUse)
	refused(http.MethodDelete, "/v2/cluster-providers/cp/clusters/one", "", http.StatusConflict, inUse)
	for _, action := range []string{"update", "terminate", "rotate-key"} {
		refused(http.MethodPost, cloudUnderTest+"/"+action, "", http.StatusConflict, wrongState)
	}
	h.made("/v2/projects/p/logical-clouds", `{"metadata":{"name":"bare"},"spec":{"namespace":"ns","user":{"userName":"jane"}}}`)
	refused(http.MethodPost, "/v2/projects/p/logical-clouds/bare/instantiate", "", http.StatusBadRequest, incomplete)
	h.made("/v2/projects/p/logical-clouds/bare/cluster-references", reference("r", "one"))
	h.made("/v2/projects/p/logical-clouds/bare/user-permissions", permission("elsewhere", "other"))
	refused(http.MethodPost, "/v2/projects/p/logical-clouds/bare/instantiate", "", http.StatusBadRequest, incomplete)

	h.act("instantiate")
	refused(http.MethodPost, cloudUnderTest+"/instantiate", "", http.StatusConflict, wrongState)
	refused(http.MethodDelete, cloudUnderTest, "", http.StatusConflict, wrongState)
	refused(http.MethodDelete, cloudUnderTest+"/cluster-references/r1", "", http.StatusConflict, wrongState)
	refused(http.MethodPut, cloudUnderTest+"/cluster-references/r1", reference("r1", "two"), http.StatusConflict, wrongState)
	refused(http.MethodPut, cloudUnderTest, `{"metadata":{"name":"c"},"spec":{"namespace":"ns2","user":{"userName":"jane"}}}`, http.StatusConflict, wrongState)
	h.made(cloudUnderTest+"/cluster-references", reference("r3", "two"))
	w := h.do(RoleAdmin, http.MethodPut, cloudUnderTest, `{"metadata":{"name":"c","description":"new"},"spec":{"namespace":"ns","user":{"userName":"jane"}}}`)
	require.Equal(t, http.StatusOK, w.Code, "its metadata can change: %s", w.Body)
	h.act("update")
	h.act("rotate-key")
	h.act("terminate")
	refused(http.MethodDelete, cloudUnderTest, "", http.StatusConflict, wrongState)
	for _, r := range []string{"r1", "r2", "r3"} {
		h.see(r, fsmpb.CertificateObservation_KIND_REMOVED)
	}
	require.Equal(t, http.StatusNoContent, h.do(RoleAdmin, http.MethodDelete, cloudUnderTest, "").Code)
	h.requireNone(cloudUnderTest + "/cluster-references")
}

func TestListsAreArrays(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, path := range []string{"/v2/projects", "/v2/cluster-providers"} {
		require.Equal(t, "[]\n", h.get(path).Body.String(), "not null")
	}
	for _, name := range []string{"b", "a", "B", "c"} {
		h.made("/v2/projects", `{"metadata":{"name":"`+name+`"}}`)
	}
	var names []string
	for _, p := range read[[]wire.Project](t, h.get("/v2/projects?consistency=stale")) {
		names = append(names, p.Metadata.Name)
	}
	require.Equal(t, []string{"B", "a", "b", "c"}, names)
}
