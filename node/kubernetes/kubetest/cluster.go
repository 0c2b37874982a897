package kubetest

import (
	"crypto/rsa"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	core "k8s.io/client-go/kubernetes/typed/core/v1"
	rbac "k8s.io/client-go/kubernetes/typed/rbac/v1"
	"k8s.io/client-go/rest"
)

// Issuer of the service-account tokens.
const Issuer = "https://kubernetes.default.svc"

// startTimeout is how long the API server may take; it takes about 4 s.
const startTimeout = 2 * time.Minute

// Cluster is an API server that runs.
type Cluster struct {
	// Admin may do everything.
	Admin *rest.Config
	// Kubeconfig is the file of the user keysteward, who may have tokens reviewed
	// and nothing else.
	Kubeconfig string

	t       testing.TB
	core    *core.CoreV1Client
	signer  *rsa.PrivateKey // of service-account tokens
	server  *process
	restart func()
}

// Start starts a cluster that ends with the test.
func Start(t testing.TB) *Cluster {
	t.Helper()
	dir := t.TempDir()
	p := newPKI(t, dir)
	ports := freePorts(t, 3)
	etcd := fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	peer := fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	start(t, dir, "etcd", "--data-dir", filepath.Join(dir, "etcd"), "--unsafe-no-fsync", "--log-level", "error",
		"--listen-client-urls", etcd, "--advertise-client-urls", etcd,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
	c := &Cluster{t: t, signer: p.signer, Admin: p.config(ports[2], "admin", "system:masters")}
	c.restart = func() {
		c.server = start(t, dir, "kube-apiserver", "--etcd-servers", etcd,
			"--bind-address", "127.0.0.1", "--secure-port", strconv.Itoa(ports[2]), "--cert-dir", dir,
			"--tls-cert-file", p.file("server.crt"), "--tls-private-key-file", p.file("server.key"),
			"--client-ca-file", p.file("ca.crt"), "--service-cluster-ip-range", "10.0.0.0/24",
			"--service-account-issuer", Issuer, "--api-audiences", Issuer,
			"--service-account-signing-key-file", p.file("signer.key"), "--service-account-key-file", p.file("signer.pub"),
			"--authorization-mode", "Node,RBAC", "--profiling=false")
		c.awaitReady()
	}
	c.restart()
	var err error
	c.core, err = core.NewForConfig(c.Admin)
	require.NoError(t, err)
	c.Kubeconfig = p.kubeconfig(ports[2], "keysteward")
	c.mayReview("keysteward")
	return c
}

// Stop ends the API server, and only it: its data stay.
func (c *Cluster) Stop() { c.server.stop() }

// Restart starts it again on the same port.
func (c *Cluster) Restart() { c.restart() }

func (c *Cluster) awaitReady() {
	c.t.Helper()
	client, err := core.NewForConfig(c.Admin)
	require.NoError(c.t, err)
	require.Eventually(c.t, func() bool {
		require.NoError(c.t, c.server.ended())
		_, err := client.RESTClient().Get().AbsPath("/readyz").DoRaw(c.t.Context())
		return err == nil
	}, startTimeout, 50*time.Millisecond, "kube-apiserver: %s", c.server.log)
}

// mayReview gives a user the role that lets it create token reviews.
func (c *Cluster) mayReview(user string) {
	c.t.Helper()
	client, err := rbac.NewForConfig(c.Admin)
	require.NoError(c.t, err)
	_, err = client.ClusterRoleBindings().Create(c.t.Context(), reviewBinding(user), createOptions)
	require.NoError(c.t, err)
}

// freePorts are ports of loopback that nobody listens on at the moment.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	ports := make([]int, n)
	for i := range ports {
		ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it is closed at once
		require.NoError(t, err)
		defer func() { _ = ln.Close() }()
		ports[i] = ln.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it is TCP
	}
	return ports
}

// root is the folder of the module, where scripts/tool is.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "scripts", "tool")); err == nil {
			return dir
		}
	}
	require.Fail(t, "scripts/tool is in no folder above this one")
	return ""
}
