package kubetest

import (
	"crypto/rsa"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	core "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// Issuer of the service-account tokens.
const Issuer = "https://kubernetes.default.svc"

// startTimeout is how long one may take that is started; the API server takes about 4 s.
const startTimeout = 2 * time.Minute

// Cluster is an API server that runs.
type Cluster struct {
	// Admin may do everything, as often as it likes.
	Admin *rest.Config
	// AdminKubeconfig is a file with the same, for kubectl and for registering the
	// cluster: authority, certificate and key are in it.
	AdminKubeconfig string
	// Kubeconfig is the file of the user keysteward, who may have tokens reviewed
	// and nothing else.
	Kubeconfig string

	t      testing.TB
	dir    string
	port   int
	pki    *pki
	core   *core.CoreV1Client
	signer *rsa.PrivateKey // of service-account tokens

	etcd     *process
	etcds    int // that were started, each with data of its own
	server   *process
	signing  bool     // with kube-controller-manager
	managers *process // kube-controller-manager
}

// Option changes what is started.
type Option func(*Cluster)

// WithSigner runs kube-controller-manager too: approved certificate signing requests
// get their certificates, namespaces can be deleted, quotas are counted.
func WithSigner() Option { return func(c *Cluster) { c.signing = true } }

// Start starts a cluster that ends with the test. It returns when the API server is
// ready and, with a signer, when that has signed a certificate.
func Start(t testing.TB, options ...Option) *Cluster {
	t.Helper()
	return StartMany(t, 1, options...)[0]
}

// StartMany starts some clusters at once, which is quicker than one after the other.
func StartMany(t testing.TB, n int, options ...Option) []*Cluster {
	t.Helper()
	clusters := make([]*Cluster, n)
	for i := range clusters {
		clusters[i] = launch(t, options...)
	}
	for _, c := range clusters {
		c.finish()
	}
	for _, c := range clusters {
		if c.signing {
			c.awaitSigner()
		}
	}
	return clusters
}

// launch starts the processes, which are not ready yet.
func launch(t testing.TB, options ...Option) *Cluster {
	t.Helper()
	c := &Cluster{t: t, dir: t.TempDir(), port: reservePort(t)}
	for _, option := range options {
		option(c)
	}
	c.pki = newPKI(t, c.dir)
	c.signer = c.pki.signer
	c.Admin = c.pki.config(c.port, "admin", "system:masters")
	c.AdminKubeconfig = c.pki.kubeconfig("admin", c.Admin)
	c.startEtcd()
	c.startServer()
	return c
}

// finish waits for the API server, starts its controllers and makes the user keysteward.
func (c *Cluster) finish() {
	c.t.Helper()
	c.awaitReady()
	if c.signing {
		c.StartSigner()
	}
	var err error
	c.core, err = core.NewForConfig(c.Admin)
	require.NoError(c.t, err)
	c.Kubeconfig = c.pki.kubeconfig("keysteward", c.pki.config(c.port, "keysteward"))
	c.mayReview("keysteward")
}

// Stop ends the API server, and only it: its data stay. Connections to it are refused.
func (c *Cluster) Stop() { c.server.stop() }

// Restart starts it again on the same port, and returns when it is ready.
func (c *Cluster) Restart() {
	c.t.Helper()
	c.startServer()
	c.awaitReady()
}

// Rebuild puts an empty Kubernetes in the place of this one, with the same authority and on
// the same port: whoever has a kubeconfig of it can not tell, but by what is in it.
func (c *Cluster) Rebuild() {
	c.t.Helper()
	c.server.stop()
	c.etcd.stop()
	c.startEtcd()
	c.Restart()
	c.mayReview("keysteward")
}

// StopSigner ends kube-controller-manager: nothing is signed, no namespace goes away.
func (c *Cluster) StopSigner() { c.managers.stop() }

// StartSigner starts it, again or for the first time, and it works a second or two
// later. The API server must be there: kube-controller-manager waits ten seconds for it
// when it starts, then it ends.
func (c *Cluster) StartSigner() {
	c.t.Helper()
	c.managers = start(c.t, c.dir, "kube-controller-manager", c.managerFlags()...)
}

func (c *Cluster) awaitReady() {
	c.t.Helper()
	client, err := core.NewForConfig(c.Admin)
	require.NoError(c.t, err)
	c.server.await(c.t, func() bool {
		_, err := client.RESTClient().Get().AbsPath("/readyz").DoRaw(c.t.Context())
		return err == nil
	})
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
