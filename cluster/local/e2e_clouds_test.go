package local

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	signing "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/kubernetes/certificate"
)

// lived is a cloud on its way through its life, in the namespace of its name.
type lived struct {
	*cloudDays

	eu, old string // kubeconfigs: of the present generation, and of one before
	user    string // as Kubernetes knows it
}

// TestCloudLives goes the way of a cloud from the registration of its Kubernetes
// clusters to its second life, on the command line, with kubectl as the judge.
func TestCloudLives(t *testing.T) {
	t.Parallel()
	l := &lived{cloudDays: newCloudDays(t)}
	_, err := namespacesOf(t, l.k[1]).Create(t.Context(), &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"whose": "theirs"}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	l.isDescribed()
	l.isInstantiated()
	l.isGuarded()
	l.isUpdated()
	l.needsNoKey()
	l.changesKey()
	l.isTerminated()
	l.livesAgain()
	out, err := l.keysteward(t, "audit", "verify")
	require.NoError(t, err, out)
}

// path of the cloud in the API.
const webPath = "/v2/projects/shop/logical-clouds/web"

// get asks the leader.
func (d *cloudDays) get(path string) (status int, header http.Header, answer string) {
	d.t.Helper()
	request, err := http.NewRequestWithContext(d.t.Context(), http.MethodGet, d.site.apiURL(d.leaderNow())+path, nil)
	require.NoError(d.t, err)
	request.Header.Set("Authorization", "Bearer "+readText(d.t, d.site.tokens.Operator))
	return exchanged(d.t, request)
}

// leaderNow waits for a node that leads, and returns its index.
func (d *cloudDays) leaderNow() (leader int) {
	d.t.Helper()
	require.Eventually(d.t, func() bool { leader, _ = d.whoLeads(); return leader >= 0 }, patience, pollTime, "nobody leads")
	return leader
}

// exchanged sends a request to one node; no redirect is followed.
func exchanged(t *testing.T, request *http.Request) (status int, header http.Header, answer string) {
	t.Helper()
	response, err := unverified.RoundTrip(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, response.Header, string(text)
}

func (l *lived) requireKubeconfigIs(want int, words string) {
	l.t.Helper()
	status, _, answer := l.get(webPath + "/cluster-references/eu/kubeconfig")
	require.Equal(l.t, want, status, answer)
	require.Contains(l.t, answer, words)
}

func (l *lived) isDescribed() {
	l.t.Helper()
	l.must("clouds", "providers", "create", cloudProvider)
	for i, place := range cloudPlaces {
		l.must("clouds", "clusters", "register", cloudProvider, place, "--kubeconfig", l.k[i].AdminKubeconfig)
	}
	l.must("clouds", "projects", "create", cloudProject)
	l.requireKubeconfigIs(http.StatusNotFound, "there is no logical cloud")
	l.must("clouds", "create", cloudProject, "web", "--namespace", "web", "--user", "alice", "--label", "team=web")
	l.must("clouds", "references", "add", cloudProject, "web", "eu", "--provider", cloudProvider)
	out, err := l.keysteward(l.t, "clouds", "instantiate", cloudProject, "web")
	require.Error(l.t, err)
	require.Contains(l.t, out, "permission", "there is none on its namespace")
	l.must("clouds", "permissions", "add", cloudProject, "web", "pods", "--resources", "pods", "--verbs", "get,list,watch")
	l.must("clouds", "permissions", "add", cloudProject, "web", "quotas", "--resources", "resourcequotas", "--verbs", "get,list")
	l.must("clouds", "permissions", "add", cloudProject, "web", "nodes", "--cluster-wide", "--resources", "nodes", "--verbs", "list")
	l.must("clouds", "quotas", "add", cloudProject, "web", "small", "--hard", "pods=7")
	l.requireKubeconfigIs(http.StatusConflict, "Created")
}

// isInstantiated asks for the kubeconfig while the signer rests: 202; and then 200.
func (l *lived) isInstantiated() {
	t := l.t
	t.Helper()
	l.k[0].StopSigner()
	l.must("clouds", "instantiate", cloudProject, "web")
	var pending wire.PendingKubeconfig
	require.Eventually(t, func() bool {
		status, header, answer := l.get(webPath + "/cluster-references/eu/kubeconfig")
		require.Equal(t, http.StatusAccepted, status, answer)
		require.NotEmpty(t, header.Get("Retry-After"))
		require.NoError(t, json.Unmarshal([]byte(answer), &pending))
		return pending.Step == wire.CloudStepCertificate
	}, patience, pollTime, "%+v", &pending)
	require.NotEmpty(t, pending.Message)
	l.k[0].StartSigner()
	l.eu = l.files + "/eu"
	l.must("kubeconfig", "get", cloudProject, "web", "eu", "--out", l.eu)
	requireMode(t, l.eu, 0o600)

	status, header, answer := l.get(webPath + "/cluster-references/eu/kubeconfig")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "application/yaml", header.Get("Content-Type"))
	require.Equal(t, "no-store", header.Get("Cache-Control"))
	require.Equal(t, readText(t, l.eu), strings.TrimSpace(answer))
}

func (l *lived) isGuarded() {
	t := l.t
	t.Helper()
	status := l.await("web", inState(wire.CloudStateInstantiated))
	l.user = status.CommonName
	require.Equal(t, certificate.CommonName(l.clusterID(), cloudProject, "web", "alice", uint64(status.Generation)), l.user)
	l.requireLogsIn(l.eu, "web", l.user)
	for what, want := range map[string]string{
		"list pods -n web": "yes", "delete pods -n web": "no", "list pods -n default": "no", "list secrets -n web": "no", "list pods -A": "no",
		"list nodes": "yes", "impersonate users": "no", "approve signers.certificates.k8s.io": "no",
	} {
		out, err := l.kube(l.eu, append([]string{"auth", "can-i"}, strings.Fields(what)...)...)
		require.Equal(t, want == "yes", err == nil, "%s: %s", what, out)
		require.Contains(t, out, want, what)
	}
	out, err := l.kube(l.eu, "get", "resourcequotas", "-o", "jsonpath={.items[*].spec.hard.pods}")
	require.NoError(t, err, out)
	require.Equal(t, "7", out, "in the namespace of its context")
	out, err = l.kube(l.k[0].AdminKubeconfig, "get", "namespace", "web", "-o", "jsonpath={.metadata.labels.team}")
	require.NoError(t, err, out)
	require.Equal(t, "web", out)
}

// isUpdated adds a second Kubernetes cluster, which changes nothing in the first.
func (l *lived) isUpdated() {
	t := l.t
	t.Helper()
	before := l.onlyRequest(0)
	l.must("clouds", "references", "add", cloudProject, "web", "us", "--provider", cloudProvider)
	l.requireReferenceWaitsForUpdate()
	l.must("clouds", "update", cloudProject, "web", "--wait")
	after := l.onlyRequest(0)
	require.Equal(t, before.UID, after.UID)
	require.Equal(t, before.Status.Certificate, after.Status.Certificate)
	require.Equal(t, before.Spec.Request, l.onlyRequest(1).Spec.Request, "one key for both")
	again := l.kubeconfig("web", "eu")
	require.Equal(t, readText(t, l.eu), readText(t, again), "it is the same kubeconfig")

	all := l.kubeconfig("web", "")
	for _, place := range cloudPlaces {
		l.requireLogsIn(all, "web", l.user, "--context", "alice@"+place)
	}
	config, err := clientcmd.LoadFromFile(all)
	require.NoError(t, err)
	require.Len(t, config.Contexts, 2)
	require.Equal(t, l.k[1].Admin.Host, config.Clusters["us"].Server)
}

func (l *lived) requireReferenceWaitsForUpdate() {
	l.t.Helper()
	status, _, answer := l.get(webPath + "/cluster-references/us/kubeconfig")
	require.Equal(l.t, http.StatusConflict, status, answer)
	require.Contains(l.t, answer, "update")
}

// needsNoKey: kubectl asks keysteward for the certificate.
func (l *lived) needsNoKey() {
	t := l.t
	t.Helper()
	file := l.files + "/exec"
	l.must("kubeconfig", "get", cloudProject, "web", "--exec", "--out", file)
	require.NotContains(t, readText(t, file), "key-data")
	require.NotContains(t, readText(t, file), "certificate-data:")
	for _, place := range cloudPlaces {
		l.requireLogsIn(file, "web", l.user, "--context", "alice@"+place)
	}
}

// changesKey: the old kubeconfig is of no use, the new one and the one without key are.
func (l *lived) changesKey() {
	t := l.t
	t.Helper()
	l.old = l.eu
	l.must("clouds", "rotate-key", cloudProject, "web", "--wait")
	was := l.user
	l.user = l.status("web").CommonName
	require.NotEqual(t, was, l.user)
	require.Equal(t, was, l.whoami(l.old), "Kubernetes can not revoke it")
	l.requireForbidden(l.old, "get", "pods", "-n", "web")
	l.requireForbidden(l.old, "get", "nodes")
	l.eu = l.kubeconfig("web", "eu")
	l.requireLogsIn(l.eu, "web", l.user)
	require.Eventually(t, func() bool { // what is cached is served for as long as kube says
		return l.whoami(l.files+"/exec", "--context", "alice@us") == l.user
	}, patience, 10*pollTime, "kubectl goes on with the old certificate")
	l.requireLogsIn(l.files+"/exec", "web", l.user, "--context", "alice@us")
	requireOtherKey(t, l.old, l.eu)
}

// isTerminated: nothing of ours is left, and what was there before is.
func (l *lived) isTerminated() {
	t := l.t
	t.Helper()
	l.must("clouds", "terminate", cloudProject, "web")
	l.requireKubeconfigIs(http.StatusConflict, "Terminat")
	l.await("web", inState(wire.CloudStateTerminated))
	for i := range l.k {
		require.Empty(t, oursIn(t, l.k[i]), cloudPlaces[i])
	}
	_, err := namespacesOf(t, l.k[0]).Get(t.Context(), "web", metav1.GetOptions{})
	require.ErrorContains(t, err, "not found")
	theirs, err := namespacesOf(t, l.k[1]).Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"whose": "theirs", core.LabelMetadataName: "web"}, theirs.Labels)
	require.Equal(t, core.NamespaceActive, theirs.Status.Phase)
	for _, kubeconfig := range []string{l.old, l.eu} {
		l.requireForbidden(kubeconfig, "get", "pods", "-n", "web")
	}
	out, err := l.keysteward(t, "kubeconfig", "get", cloudProject, "web", "eu", "--out", l.files+"/none")
	require.Error(t, err, out)
	require.NoFileExists(t, l.files+"/none")
}

func (l *lived) livesAgain() {
	t := l.t
	t.Helper()
	before := l.eu
	l.must("clouds", "instantiate", cloudProject, "web", "--wait")
	was := l.user
	l.user = l.status("web").CommonName
	require.NotEqual(t, was, l.user)
	l.eu = l.kubeconfig("web", "eu")
	l.requireLogsIn(l.eu, "web", l.user)
	requireOtherKey(t, before, l.eu)
	for _, kubeconfig := range []string{l.old, before} {
		l.requireForbidden(kubeconfig, "get", "pods", "-n", "web")
		l.requireForbidden(kubeconfig, "get", "nodes")
	}
	for i := range l.k {
		l.onlyRequest(i)
	}
}

func (d *cloudDays) clusterID() string {
	d.t.Helper()
	cluster, err := d.client.Cluster(d.t.Context())
	require.NoError(d.t, err)
	return cluster.ClusterID
}

// onlyRequest is our only certificate signing request in a Kubernetes cluster.
func (d *cloudDays) onlyRequest(cluster int) signing.CertificateSigningRequest {
	d.t.Helper()
	list := requestsIn(d.t, d.k[cluster])
	require.Len(d.t, list, 1, cloudPlaces[cluster])
	return list[0]
}

// requireOtherKey holds if two kubeconfigs have neither key nor certificate in common.
func requireOtherKey(t *testing.T, a, b string) {
	t.Helper()
	pairs := map[string]bool{}
	for _, file := range []string{a, b} {
		_, err := os.Stat(file)
		require.NoError(t, err)
		config, err := clientcmd.LoadFromFile(file)
		require.NoError(t, err)
		for _, user := range config.AuthInfos {
			require.NotEmpty(t, user.ClientKeyData)
			require.NotEmpty(t, user.ClientCertificateData)
			pairs[string(user.ClientKeyData)], pairs[string(user.ClientCertificateData)] = true, true
		}
	}
	require.Len(t, pairs, 4)
}
