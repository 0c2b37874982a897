package local

import (
	"bytes"
	"encoding/json"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/keysteward/keysteward/api/wire"
)

// bad is a request that is refused.
type bad struct {
	method, path string
	media, body  string
	status       int
	says         string
}

// TestCloudsOnBadDays: bad requests, kubeconfigs that lead nowhere or may too little,
// requests that are denied or lost meanwhile.
func TestCloudsOnBadDays(t *testing.T) {
	t.Parallel()
	d := newCloudDays(t)
	d.register()
	d.describe("good", "greta", "eu")
	d.refusesBadRequests()
	d.refusesBadKubeconfigs()
	d.waitsForRightKubeconfigs()
	d.namesMissingPermissions()
	d.comesBackFromDenials()
	d.keepsUsersApart()
	d.takesLongNames()
	require.Equal(t, wire.CloudStateCreated, d.status("good").State, "nobody touched it")
}

// ask sends a request to the leader, as an operator.
func (d *cloudDays) ask(method, path, media, body string) (status int, answer string) {
	d.t.Helper()
	request, err := http.NewRequestWithContext(d.t.Context(), method, d.site.apiURL(d.leaderNow())+path, strings.NewReader(body))
	require.NoError(d.t, err)
	request.Header.Set("Authorization", "Bearer "+readText(d.t, d.site.tokens.Operator))
	if media != "" {
		request.Header.Set("Content-Type", media)
	}
	status, _, answer = exchanged(d.t, request)
	return status, answer
}

func (d *cloudDays) refusesBadRequests() {
	t := d.t
	t.Helper()
	const projects, cloudsOf, permissions = "/v2/projects", "/v2/projects/shop/logical-clouds", "/v2/projects/shop/logical-clouds/good/user-permissions"
	cloud := func(spec string) string { return `{"metadata":{"name":"bad"},"spec":` + spec + `}` }
	for name, c := range map[string]bad{
		"project twice":        {http.MethodPost, projects, asJSON, `{"metadata":{"name":"shop"}}`, http.StatusConflict, "exists"},
		"cloud twice":          {http.MethodPost, cloudsOf, asJSON, `{"metadata":{"name":"good"},"spec":{"namespace":"x","user":{"userName":"u"}}}`, http.StatusConflict, "exists"},
		"no JSON":              {http.MethodPost, cloudsOf, asJSON, `{"metadata":`, http.StatusUnprocessableEntity, "malformed"},
		"empty":                {http.MethodPost, cloudsOf, asJSON, "", http.StatusBadRequest, "empty"},
		"no name":              {http.MethodPost, cloudsOf, asJSON, `{"spec":{"namespace":"x","user":{"userName":"u"}}}`, http.StatusBadRequest, "name"},
		"name with a slash":    {http.MethodPost, projects, asJSON, `{"metadata":{"name":"a/b"}}`, http.StatusBadRequest, "name"},
		"name too long":        {http.MethodPost, projects, asJSON, `{"metadata":{"name":"` + strings.Repeat("a", 129) + `"}}`, http.StatusBadRequest, "name"},
		"text":                 {http.MethodPost, cloudsOf, "text/plain", cloud(`{"namespace":"x","user":{"userName":"u"}}`), http.StatusUnsupportedMediaType, ""},
		"no such project":      {http.MethodPost, "/v2/projects/none/logical-clouds", asJSON, cloud(`{"namespace":"x","user":{"userName":"u"}}`), http.StatusNotFound, "none"},
		"user of Kubernetes":   {http.MethodPost, cloudsOf, asJSON, cloud(`{"namespace":"x","user":{"userName":"system:admin"}}`), http.StatusBadRequest, "system:"},
		"the same, older name": {http.MethodPost, cloudsOf, asJSON, cloud(`{"namespace":"x","user":{"user-name":"System:admin"}}`), http.StatusBadRequest, "system:"},
		"both spellings":       {http.MethodPost, cloudsOf, asJSON, cloud(`{"namespace":"x","user":{"user-name":"a","userName":"a"}}`), http.StatusBadRequest, ""},
		"level 0":              {http.MethodPost, cloudsOf, asJSON, cloud(`{"namespace":"x","level":"0","user":{"userName":"u"}}`), http.StatusBadRequest, "level"},
		"kube-system":          {http.MethodPost, cloudsOf, asJSON, cloud(`{"namespace":"kube-system","user":{"userName":"u"}}`), http.StatusBadRequest, "namespace"},
		"our label":            {http.MethodPost, cloudsOf, asJSON, cloud(`{"namespace":"x","labels":{"keysteward.io/cloud":"1"},"user":{"userName":"u"}}`), http.StatusBadRequest, "label"},
		"life of a minute":     {http.MethodPost, cloudsOf, asJSON, cloud(`{"namespace":"x","expirationSeconds":60,"user":{"userName":"u"}}`), http.StatusBadRequest, "expirationSeconds"},
		"no such cluster": {
			http.MethodPost, cloudsOf + "/good/cluster-references", asJSON,
			`{"metadata":{"name":"x"},"spec":{"clusterProvider":"acme","cluster":"mars"}}`, http.StatusNotFound, "mars",
		},
		"its own certificate": {
			http.MethodPost, cloudsOf + "/good/cluster-references", asJSON,
			`{"metadata":{"name":"x"},"spec":{"clusterProvider":"acme","cluster":"us","certificate":"LS0t"}}`, http.StatusBadRequest, "certificate",
		},
		"no verbs":            {http.MethodPost, permissions, asJSON, `{"metadata":{"name":"x"},"spec":{"namespace":"good","apiGroups":[""],"resources":["pods"],"verbs":[]}}`, http.StatusBadRequest, "verbs"},
		"no quantity":         {http.MethodPost, cloudsOf + "/good/cluster-quotas", asJSON, `{"metadata":{"name":"x"},"spec":{"pods":"many"}}`, http.StatusBadRequest, "pods"},
		"update too early":    {http.MethodPost, cloudsOf + "/good/update", "", "", http.StatusConflict, "Created"},
		"terminate too early": {http.MethodPost, cloudsOf + "/good/terminate", "", "", http.StatusConflict, "Created"},
		"no such reference":   {http.MethodGet, cloudsOf + "/good/cluster-references/none/kubeconfig", "", "", http.StatusNotFound, "none"},
		"cluster in use":      {http.MethodDelete, "/v2/cluster-providers/acme/clusters/eu", "", "", http.StatusConflict, "in-use"},
		"provider in use":     {http.MethodDelete, "/v2/cluster-providers/acme", "", "", http.StatusConflict, "in-use"},
		"project in use":      {http.MethodDelete, "/v2/projects/shop", "", "", http.StatusConflict, "in-use"},
	} {
		status, answer := d.ask(c.method, c.path, c.media, c.body)
		d.requireProblem(name, c, status, answer)
	}
}

func (d *cloudDays) requireProblem(name string, c bad, status int, answer string) {
	d.t.Helper()
	require.Equal(d.t, c.status, status, "%s: %s", name, answer)
	var p wire.Problem
	require.NoError(d.t, json.Unmarshal([]byte(answer), &p), "%s: %s", name, answer)
	require.Equal(d.t, c.status, p.Status, name)
	require.Contains(d.t, answer, c.says, name)
}

// upload sends a kubeconfig the way that EMCO's clients do.
func (d *cloudDays) upload(method, path, name, kubeconfig string) (int, string) {
	d.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for part, text := range map[string]string{"metadata": `{"metadata":{"name":"` + name + `"}}`, "file": kubeconfig} {
		w, err := form.CreatePart(textproto.MIMEHeader{"Content-Disposition": {`form-data; name="` + part + `"; filename="` + part + `"`}})
		require.NoError(d.t, err)
		_, err = w.Write([]byte(text))
		require.NoError(d.t, err)
	}
	require.NoError(d.t, form.Close())
	return d.ask(method, path, form.FormDataContentType(), body.String())
}

const clustersPath = "/v2/cluster-providers/acme/clusters"

// changed is the kubeconfig of an admin of eu with a change.
func (d *cloudDays) changed(change func(*api.Cluster, *api.AuthInfo)) string {
	d.t.Helper()
	config, err := clientcmd.LoadFromFile(d.k[0].AdminKubeconfig)
	require.NoError(d.t, err)
	change(config.Clusters["c"], config.AuthInfos["admin"])
	text, err := clientcmd.Write(*config)
	require.NoError(d.t, err)
	return string(text)
}

// refusesBadKubeconfigs: those that would have the server do or read something, or trust
// everybody, and what is none.
func (d *cloudDays) refusesBadKubeconfigs() {
	t := d.t
	t.Helper()
	without := func(a *api.AuthInfo) { *a = api.AuthInfo{} }
	for name, text := range map[string]string{
		"none":        "what is this?",
		"empty":       "",
		"a JSON list": "[]",
		"exec": d.changed(func(_ *api.Cluster, a *api.AuthInfo) {
			without(a)
			a.Exec = &api.ExecConfig{Command: "/bin/false", APIVersion: "client.authentication.k8s.io/v1", InteractiveMode: api.NeverExecInteractiveMode}
		}),
		"a token in a file": d.changed(func(_ *api.Cluster, a *api.AuthInfo) { without(a); a.TokenFile = "/etc/passwd" }),
		"a key in a file":   d.changed(func(_ *api.Cluster, a *api.AuthInfo) { a.ClientKeyData, a.ClientKey = nil, "/etc/passwd" }),
		"a CA in a file": d.changed(func(c *api.Cluster, _ *api.AuthInfo) {
			c.CertificateAuthorityData, c.CertificateAuthority = nil, "/etc/passwd"
		}),
		"any server": d.changed(func(c *api.Cluster, _ *api.AuthInfo) { c.CertificateAuthorityData, c.InsecureSkipTLSVerify = nil, true }),
		"no TLS":     d.changed(func(c *api.Cluster, _ *api.AuthInfo) { c.Server = strings.Replace(c.Server, "https", "http", 1) }),
		"nobody":     d.changed(func(_ *api.Cluster, a *api.AuthInfo) { without(a) }),
	} {
		status, answer := d.upload(http.MethodPost, clustersPath, "bad", text)
		d.requireProblem(name, bad{status: http.StatusBadRequest}, status, answer)
		require.NotContains(t, answer, "/etc/passwd", "%s: values are not repeated", name)
	}
	status, answer := d.ask(http.MethodGet, clustersPath+"/bad", "", "")
	require.Equal(t, http.StatusNotFound, status, answer)
	status, answer = d.upload(http.MethodPost, clustersPath, "eu", readText(t, d.k[1].AdminKubeconfig))
	require.Equal(t, http.StatusConflict, status, answer)
}
