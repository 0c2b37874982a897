package kubetest

import (
	"path/filepath"
	"strconv"
)

// Etcd is reached by sockets in the folder of the test, which is where the processes
// run: it needs no ports, and nobody else can reach it. The address that it would tell
// other members is of no use, but it wants one.
const (
	etcdClients = "unix://clients:0"
	etcdPeers   = "unix://peers:0"
	etcdNowhere = "http://127.0.0.1:1"
)

// controllers are those that tests can see at work: requests are signed, namespaces
// with all in them go away, quotas are counted, and each namespace has its account.
const controllers = "certificatesigningrequest-signing-controller,certificatesigningrequest-cleaner-controller," +
	"namespace-controller,resourcequota-controller,garbage-collector-controller,clusterrole-aggregation-controller," +
	"serviceaccount-controller,serviceaccount-token-controller,root-ca-certificate-publisher-controller"

func (c *Cluster) startEtcd() {
	c.t.Helper()
	c.etcds++
	c.etcd = start(c.t, c.dir, "etcd", "--data-dir", filepath.Join(c.dir, "etcd-"+strconv.Itoa(c.etcds)), "--unsafe-no-fsync", "--log-level", "error",
		"--listen-client-urls", etcdClients, "--advertise-client-urls", etcdNowhere,
		"--listen-peer-urls", etcdPeers, "--initial-advertise-peer-urls", etcdNowhere, "--initial-cluster", "default="+etcdNowhere)
}

// startServer tells the API server an address to tell others, else it would look for
// one, and a machine without a network has none.
func (c *Cluster) startServer() {
	c.t.Helper()
	p := c.pki
	c.server = start(c.t, c.dir, "kube-apiserver", "--etcd-servers", etcdClients,
		"--bind-address", "127.0.0.1", "--secure-port", strconv.Itoa(c.port), "--permit-port-sharing",
		"--advertise-address", "127.0.0.1", "--endpoint-reconciler-type", "none", "--cert-dir", c.dir,
		"--tls-cert-file", p.file("server.crt"), "--tls-private-key-file", p.file("server.key"),
		"--client-ca-file", p.file("ca.crt"), "--service-cluster-ip-range", "10.0.0.0/24",
		"--service-account-issuer", Issuer, "--api-audiences", Issuer,
		"--service-account-signing-key-file", p.file("signer.key"), "--service-account-key-file", p.file("signer.pub"),
		"--authorization-mode", "Node,RBAC", "--profiling=false")
}

// managerFlags are those of kube-controller-manager. Its 20 requests a second by
// default would be what limits how many certificates are signed.
func (c *Cluster) managerFlags() []string {
	p := c.pki
	return []string{
		"--kubeconfig", c.AdminKubeconfig, "--secure-port", "0", "--leader-elect=false", "--profiling=false",
		"--cluster-signing-cert-file", p.file("ca.crt"), "--cluster-signing-key-file", p.file("server.key"),
		"--service-account-private-key-file", p.file("signer.key"), "--root-ca-file", p.file("ca.crt"),
		"--use-service-account-credentials=true", "--kube-api-qps", "500", "--kube-api-burst", "1000",
		"--controllers", controllers,
	}
}
