package local

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// kubernetesPort is where the API server of the searched cluster's clouds listens.
func (r *searched) kubernetesPort() int {
	r.t.Helper()
	u, err := url.Parse(r.kubernetes.Admin.Host)
	require.NoError(r.t, err)
	port, err := strconv.Atoi(u.Port())
	require.NoError(r.t, err)
	return port
}

// cloudsAreMade registers a Kubernetes cluster with a key, and with a token that may
// nothing; a cloud gets a key, and another one.
func (r *searched) cloudsAreMade() {
	t := r.t
	t.Helper()
	r.mustRun("clouds", "providers", "create", cloudProvider)
	r.mustRun("clouds", "clusters", "register", cloudProvider, "eu", "--kubeconfig", r.kubernetes.AdminKubeconfig)
	r.addKubeconfig("kubeconfig of a Kubernetes cluster", readText(t, r.kubernetes.AdminKubeconfig))
	r.mustRun("clouds", "clusters", "register", cloudProvider, "weak", "--kubeconfig", r.kubeconfigWithToken())
	r.mustRun("clouds", "projects", "create", cloudProject)
	r.cloudIsMade("searched-cloud", "eu")
	r.cloudIsMade("waiting-cloud", "weak")
	r.mustRun("clouds", "instantiate", cloudProject, "searched-cloud", "--wait")
	r.mustRun("clouds", "instantiate", cloudProject, "waiting-cloud")
	r.kubeconfigIsFetched("first")
	r.mustRun("clouds", "rotate-key", cloudProject, "searched-cloud", "--wait")
	r.kubeconfigIsFetched("second")
	require.Eventually(t, func() bool {
		return strings.Contains(r.mustRun("clouds", "status", cloudProject, "waiting-cloud"), "forbidden")
	}, patience, 10*pollTime)
}

func (r *searched) cloudIsMade(name, cluster string) {
	r.t.Helper()
	r.mustRun("clouds", "create", cloudProject, name, "--namespace", name, "--user", "sarah", "--key-algorithm", "Ed25519")
	r.mustRun("clouds", "references", "add", cloudProject, name, cluster, "--provider", cloudProvider)
	r.mustRun("clouds", "permissions", "add", cloudProject, name, "pods", "--resources", "pods", "--verbs", "get")
}

// kubeconfigWithToken writes one for an account without any permission.
func (r *searched) kubeconfigWithToken() (file string) {
	t := r.t
	t.Helper()
	r.kubernetes.CreatePod("weak", "web-0")
	token := r.kubernetes.AccountToken("weak")
	config, err := clientcmd.LoadFromFile(r.kubernetes.AdminKubeconfig)
	require.NoError(t, err)
	config.AuthInfos["admin"] = &api.AuthInfo{Token: token}
	text, err := clientcmd.Write(*config)
	require.NoError(t, err)
	file = r.folder.in("weak.kubeconfig")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	r.addKubeconfig("kubeconfig with a token", string(text))
	return file
}

// kubeconfigIsFetched gets the kubeconfig of the cloud's user into a file, and has what
// is in it looked for.
func (r *searched) kubeconfigIsFetched(name string) {
	t := r.t
	t.Helper()
	file := r.folder.in(name + ".kubeconfig")
	r.mustRun("kubeconfig", "get", cloudProject, "searched-cloud", "eu", "--out", file)
	r.addKubeconfig(name+" kubeconfig of a cloud", readText(t, file))
	r.mustRun("kubeconfig", "get", cloudProject, "searched-cloud", "--exec", "--out", r.folder.in(name+".exec"))
	out, err := r.keysteward(t, "credential", "--project", cloudProject, "--cloud", "searched-cloud", "--ref", "eu", "--cache-for", "0")
	require.NoError(t, err)
	require.Contains(t, out, "PRIVATE KEY", "this is for kubectl only")
}

// addKubeconfig has the keys and tokens in a kubeconfig looked for.
func (r *searched) addKubeconfig(name, text string) {
	t := r.t
	t.Helper()
	config, err := clientcmd.Load([]byte(text))
	require.NoError(t, err)
	before := len(r.secrets)
	for _, user := range config.AuthInfos {
		if user.Token != "" {
			parts := strings.Split(user.Token, ".")
			r.add(secretText("token of the "+name, parts[len(parts)-1]))
		}
		if len(user.ClientKeyData) > 0 {
			r.add(keySecrets(t, "key of the "+name, user.ClientKeyData)...)
		}
	}
	require.Greater(t, len(r.secrets), before, "there is nothing secret in the %s", name)
}

// keySecrets are the number that a private key is, and the part of its text in PEM that
// is nothing else; a kubeconfig has that in base64 once more.
func keySecrets(t *testing.T, name string, text []byte) []secret {
	t.Helper()
	block, _ := pem.Decode(text)
	require.NotNil(t, block, name)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err, name)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	switch key := parsed.(type) {
	case *ecdsa.PrivateKey:
		scalar, err := key.Bytes()
		require.NoError(t, err)
		return []secret{secretBytes(name, scalar), secretText(name+" as PEM", lines[2][:24])} // then comes the public key
	case ed25519.PrivateKey:
		// The one line begins with what all such keys begin with.
		return []secret{secretBytes(name, key.Seed()), secretText(name+" as PEM", lines[1][24:])}
	default:
		require.Failf(t, "another kind of key", "%s: %T", name, parsed)
		return nil
	}
}

// cloudPages are what can be read of clouds besides kubeconfigs, of every node.
func (r *searched) cloudPages() {
	t := r.t
	t.Helper()
	const cloud = "/v2/projects/shop/logical-clouds/searched-cloud"
	for i := range r.site.ports.API {
		for _, page := range []string{
			"/v2/projects", "/v2/cluster-providers", clustersPath, clustersPath + "/eu", clustersPath + "/weak", "/v2/projects/shop/logical-clouds",
			cloud, cloud + "/status", cloud + "/cluster-references", cloud + "/user-permissions", "/v2/projects/shop/logical-clouds/waiting-cloud/status",
		} {
			status, answer := ask(t, http.MethodGet, r.site.apiURL(i)+page+"?consistency=stale", r.site.tokens.Admin, asJSON, nil)
			require.Equal(t, http.StatusOK, status, "%s: %s", page, answer)
			r.keepText(fmt.Sprintf("%s of %s", page, nodeName(i)), string(answer))
		}
	}
	for _, kind := range [][]string{{"clusters", "list", cloudProvider}, {"list", cloudProject}, {"status", cloudProject, "searched-cloud"}} {
		r.mustRun("clouds", append(kind, "-o", "json")...)
		r.mustRun("clouds", kind...)
	}
}

// cloudCallsThatFail have kubeconfigs where they do not belong, and broken ones.
func (r *searched) cloudCallsThatFail() {
	t := r.t
	t.Helper()
	whole := readText(t, r.folder.in("second.kubeconfig"))
	at := strings.Index(whole, "client-key-data: ")
	key := strings.Fields(whole[at:])[1]
	quoted := func(text string) string { return strings.ReplaceAll(strings.ReplaceAll(text, `"`, `\"`), "\n", `\n`) }
	bearer := "Bearer " + readText(t, r.site.tokens.Operator)
	for name, c := range map[string]struct{ method, path, body string }{
		"a kubeconfig as a project":   {http.MethodPost, "/v2/projects", whole},
		"a kubeconfig as a name":      {http.MethodPost, "/v2/projects", `{"metadata":{"name":"` + quoted(whole) + `"}}`},
		"a kubeconfig as a number":    {http.MethodPost, "/v2/projects/shop/logical-clouds", `{"metadata":{"name":"x"},"spec":{"expirationSeconds":"` + quoted(whole) + `"}}`},
		"a key as a field":            {http.MethodPost, "/v2/projects", `{"` + key + `":1}`},
		"a key as a user":             {http.MethodPost, "/v2/projects/shop/logical-clouds", `{"metadata":{"name":"x"},"spec":{"namespace":"x","user":{"userName":"` + key + `"}}}`},
		"a key as a namespace":        {http.MethodPost, "/v2/projects/shop/logical-clouds", `{"metadata":{"name":"x"},"spec":{"namespace":"` + key + `","user":{"userName":"u"}}}`},
		"a kubeconfig without a form": {http.MethodPost, clustersPath, whole},
		"a key in the path":           {http.MethodGet, "/v2/projects/" + key, ""},
		"a key in the query":          {http.MethodGet, "/v2/projects?" + key[:100] + "=1", ""},
	} {
		for i := range r.site.ports.API {
			status, answer := r.call(c.method, r.site.apiURL(i)+c.path, bearer, c.body)
			require.GreaterOrEqual(t, status, 300, "%s: %s", name, answer)
			r.keepText(fmt.Sprintf("answer of %s to %s", nodeName(i), name), answer)
		}
	}
	for name, broken := range map[string]string{
		"a kubeconfig that ends early":     whole[:at+100],
		"a kubeconfig with bad characters": strings.Replace(whole, "\n", "\n\t: {", 3),
		"a kubeconfig with a bad key":      strings.Replace(whole, key, key[:40]+"!"+key[40:], 1),
		"a kubeconfig with another's key":  strings.Replace(whole, key, strings.Repeat("QUJD", 40), 1) + "\n# " + key,
		"a key and no kubeconfig":          key,
	} {
		file := r.folder.in("broken.kubeconfig")
		require.NoError(t, os.WriteFile(file, []byte(broken), 0o600))
		out, err := r.run("clouds", "clusters", "register", cloudProvider, "broken", "--kubeconfig", file)
		require.Error(t, err, "%s: %s", name, out)
		d := &cloudDays{launcher: r.launcher, t: t}
		status, answer := d.upload(http.MethodPost, clustersPath, "broken", broken)
		require.Equal(t, http.StatusBadRequest, status, "%s: %s", name, answer)
		r.keepText("answer to "+name, answer)
	}
}

// requireSameKubeconfig holds if key and certificate of the cloud are what they were.
func (r *searched) requireSameKubeconfig() {
	t := r.t
	t.Helper()
	file := r.folder.in("again.kubeconfig")
	r.mustRun("kubeconfig", "get", cloudProject, "searched-cloud", "eu", "--out", file, "--force")
	require.Equal(t, readText(t, r.folder.in("second.kubeconfig")), readText(t, file))
}
