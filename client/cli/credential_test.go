package cli

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientauthentication "k8s.io/client-go/pkg/apis/clientauthentication/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
)

const credentialEU = "credential --project shop --cloud web --ref eu"

func execCredential(t *testing.T, text string) clientauthentication.ExecCredential {
	t.Helper()
	var c clientauthentication.ExecCredential
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&c))
	require.False(t, decoder.More(), "nothing else on standard output")
	require.Equal(t, "client.authentication.k8s.io/v1", c.APIVersion)
	require.Equal(t, "ExecCredential", c.Kind)
	return c
}

func kubeconfigRequests(cluster *clienttest.Cluster) int {
	n := 0
	for _, r := range cluster.Requests() {
		if strings.HasSuffix(r.Path, "/kubeconfig") && r.Node == 1 {
			n++
		}
	}
	return n
}

func TestCredential(t *testing.T) {
	t.Parallel()
	cluster, sh := instantiated(t)
	sh.env["KUBERNETES_EXEC_INFO"] = `{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","spec":{"interactive":false}}`
	got := execCredential(t, sh.do(t, credentialEU))
	_, err := tls.X509KeyPair([]byte(got.Status.ClientCertificateData), []byte(got.Status.ClientKeyData))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(time.Minute), got.Status.ExpirationTimestamp.Time, 10*time.Second)

	require.Equal(t, got, execCredential(t, sh.do(t, credentialEU)))
	require.Equal(t, 1, kubeconfigRequests(cluster), "the second one is from the cache")
	require.NotEqual(t, got, execCredential(t, sh.do(t, "credential --project shop --cloud web --ref us")))
	require.NotEqual(t, got, execCredential(t, sh.do(t, credentialEU+" --cache-for 0")))
	files, err := filepath.Glob(filepath.Join(sh.env["XDG_CACHE_HOME"], "keysteward", "credentials", "*.json"))
	require.NoError(t, err)
	require.Len(t, files, 2)

	sh.env["KUBERNETES_EXEC_INFO"] = `{"apiVersion":"client.authentication.k8s.io/v1beta1","kind":"ExecCredential"}`
	asked := len(cluster.Requests())
	wrong := sh.run(t, strings.Fields(credentialEU)...)
	require.Equal(t, ExitUsage, wrong.code)
	require.Empty(t, wrong.out)
	require.Contains(t, wrong.err, "want apiVersion: client.authentication.k8s.io/v1")
	require.Len(t, cluster.Requests(), asked)
}

func TestCredentialOnBadDays(t *testing.T) {
	t.Parallel()
	cluster, sh := instantiated(t)
	first := sh.do(t, credentialEU)
	const now = credentialEU + " --cache-for 1ns --timeout 1s"

	cluster.Kill(0)
	cluster.Kill(1)
	got := sh.run(t, strings.Fields(now)...)
	require.Zero(t, got.code, got.err)
	require.Empty(t, got.err)
	require.Equal(t, execCredential(t, first).Status.ClientKeyData, execCredential(t, got.out).Status.ClientKeyData, "the server is away")

	got = sh.run(t, strings.Fields("credential --project shop --cloud web --ref us --timeout 1s")...)
	require.Equal(t, ExitUnknown, got.code)
	require.Empty(t, got.out)
	require.Contains(t, got.err, "no server could answer")
}

func TestCredentialOfATerminatedCloud(t *testing.T) {
	t.Parallel()
	cluster, sh := instantiated(t)
	sh.do(t, credentialEU)
	const now = credentialEU + " --cache-for 1ns --timeout 300ms"
	cluster.Await(-1, wire.WaitReason{Code: "signer-silent", Message: "not yet"})
	sh.do(t, "clouds rotate-key shop web")
	got := sh.run(t, strings.Fields(now)...)
	require.Equal(t, ExitPending, got.code, got.err)
	require.Empty(t, got.out, "the old certificate is good for nothing")
	require.Contains(t, got.err, "signer-silent")

	cluster.Await(0, wire.WaitReason{})
	sh.do(t, credentialEU, "clouds terminate shop web --wait")
	got = sh.run(t, strings.Fields(credentialEU+" --cache-for 1ns --timeout 30s")...) // who gets no answer goes on with the old one
	require.Equal(t, ExitFailure, got.code)
	require.Empty(t, got.out)
	require.Contains(t, got.err, "wrong-state")
	files, err := filepath.Glob(filepath.Join(sh.env["XDG_CACHE_HOME"], "keysteward", "credentials", "*.json"))
	require.NoError(t, err)
	require.Empty(t, files)
}

// asPlugin makes the test binary the keysteward command.
const asPlugin = "KEYSTEWARD_TEST_AS_PLUGIN"

func runAsPlugin() {
	if os.Getenv(asPlugin) != "" {
		os.Exit(Main(New("test")))
	}
}

// fakeKubernetes is a server that lets in whom the authority vouches for, and tells him
// who he is.
func fakeKubernetes(t *testing.T, authority *x509.Certificate) (url string, ca []byte) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.TLS.PeerCertificates[0].Subject.CommonName, " ", r.TLS.PeerCertificates[0].SerialNumber) //nolint:gosec // no page
	}))
	pool := x509.NewCertPool()
	pool.AddCert(authority)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

// A kubeconfig with the plug-in logs in through client-go, which runs this very binary.
func TestPluginInClientGo(t *testing.T) {
	cluster, sh := described(t)
	url, ca := fakeKubernetes(t, cluster.ClientAuthority())
	sh.do(t, "clouds clusters update acme eu --context admin --kubeconfig "+adminKubeconfig(t, url, ca), "clouds instantiate shop web --wait")
	t.Setenv(asPlugin, "yes")
	t.Setenv("XDG_CACHE_HOME", sh.env["XDG_CACHE_HOME"])
	own, err := os.Executable()
	require.NoError(t, err)
	sh.command = own
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(sh.do(t, "kubeconfig get shop web eu --exec")))
	require.NoError(t, err)
	client, err := rest.HTTPClientFor(config)
	require.NoError(t, err)
	defer client.CloseIdleConnections()
	ask := func() (int, string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		require.NoError(t, err)
		response, err := client.Do(request)
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		var name string
		var serial int
		_, _ = fmt.Fscan(response.Body, &name, &serial)
		return serial, name
	}
	serial, name := ask()
	require.Equal(t, 1, serial)
	require.Equal(t, "alice:0011223344556677", name)
	_, _ = ask()
	require.Equal(t, 1, kubeconfigRequests(cluster)-1, "one for the kubeconfig, one for the plug-in")
}
