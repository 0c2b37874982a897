package local

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/stretchr/testify/require"
	signing "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	requests "k8s.io/client-go/kubernetes/typed/certificates/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
)

// waitsForRightKubeconfigs registers kubeconfigs that do not lead into the cluster; the
// right one mends it, without any action.
func (d *cloudDays) waitsForRightKubeconfigs() {
	t := d.t
	t.Helper()
	other, err := clientcmd.LoadFromFile(d.k[1].AdminKubeconfig)
	require.NoError(t, err)
	kinds := map[string]string{
		"cluster-authority": d.changed(func(c *api.Cluster, _ *api.AuthInfo) {
			c.CertificateAuthorityData = other.Clusters["c"].CertificateAuthorityData
		}),
		"cluster-unauthorized": d.changed(func(_ *api.Cluster, a *api.AuthInfo) { *a = *other.AuthInfos["admin"] }),
		"cluster-unreachable":  d.changed(func(c *api.Cluster, _ *api.AuthInfo) { c.Server = "https://" + takenPort(t) }),
	}
	for code, text := range kinds {
		status, answer := d.upload(http.MethodPost, clustersPath, code, text)
		require.Equal(t, http.StatusCreated, status, "nothing connects before the answer: %s", answer)
		d.describe(code, "wendy", code)
		d.act(code, client.Instantiate)
	}
	for code := range kinds {
		status := d.await(code, waitsFor(code, code))
		require.NotEmpty(t, clusterOf(status, code).Reason.Message)
		out := d.must("clouds", "status", cloudProject, code)
		require.Contains(t, out, code)
		answered, answer := d.upload(http.MethodPut, clustersPath+"/"+code, code, readText(t, d.k[0].AdminKubeconfig))
		require.Equal(t, http.StatusOK, answered, answer)
	}
	for code := range kinds {
		status := d.await(code, inState(wire.CloudStateInstantiated))
		d.requireLogsIn(d.kubeconfig(code, code), code, status.CommonName)
	}
}

// allButApproval is what clouds need, without the approval of their requests.
func allButApproval() []rbac.PolicyRule {
	all := []string{"*"}
	return []rbac.PolicyRule{
		{APIGroups: []string{core.GroupName}, Resources: []string{"namespaces", "resourcequotas", "pods"}, Verbs: all},
		{APIGroups: []string{rbac.GroupName}, Resources: []string{"roles", "rolebindings", "clusterroles", "clusterrolebindings"}, Verbs: all},
		{APIGroups: []string{signing.GroupName}, Resources: []string{"certificatesigningrequests"}, Verbs: all},
	}
}

// approval is what is missing.
func approval() []rbac.PolicyRule {
	return []rbac.PolicyRule{
		{APIGroups: []string{signing.GroupName}, Resources: []string{"certificatesigningrequests/approval"}, Verbs: []string{"update"}},
		{APIGroups: []string{signing.GroupName}, Resources: []string{"signers"}, ResourceNames: []string{signing.KubeAPIServerClientSignerName}, Verbs: []string{"approve"}},
	}
}

// namesMissingPermissions has clouds wait for the right to approve. One cloud's request is
// denied meanwhile, by somebody who may.
func (d *cloudDays) namesMissingPermissions() {
	t := d.t
	t.Helper()
	d.registerAt("weak", d.k[0].UserKubeconfig("weak", allButApproval()...))
	for _, cloud := range []string{"unapproved", "denied", "deleted"} {
		d.describe(cloud, "peter", "weak")
		d.act(cloud, client.Instantiate)
	}
	for _, cloud := range []string{"unapproved", "denied", "deleted"} {
		status := d.await(cloud, waitsFor("weak", "forbidden"))
		reason := clusterOf(status, "weak").Reason.Message
		require.Contains(t, reason, "certificatesigningrequests/approval")
		require.Contains(t, reason, "signers")
		require.Contains(t, reason, "approve")
	}
	all := d.ourRequests(0)
	denied, deleted := d.requestOf("denied"), d.requestOf("deleted")
	denied.Status.Conditions = []signing.CertificateSigningRequestCondition{{
		Type: signing.CertificateDenied, Status: core.ConditionTrue, Reason: "NotHere", Message: "not in this house",
	}}
	_, err := all.UpdateApproval(t.Context(), denied.Name, &denied, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.NoError(t, all.Delete(t.Context(), deleted.Name, metav1.DeleteOptions{}))
	d.await("denied", inState(wire.CloudStateInstantiateFailed))
	status, answer := d.ask(http.MethodGet, "/v2/projects/shop/logical-clouds/denied/cluster-references/weak/kubeconfig", "", "")
	require.Equal(t, http.StatusConflict, status, answer)
	require.Contains(t, answer, "certificate-refused")
	require.Contains(t, answer, "not in this house")
}

// comesBackFromDenials: with the right to approve all goes well; what was denied is asked
// for again by an update.
func (d *cloudDays) comesBackFromDenials() {
	t := d.t
	t.Helper()
	strong := d.k[0].UserKubeconfig("strong", append(allButApproval(), approval()...)...)
	was := d.requestOf("denied")
	status, answer := d.upload(http.MethodPut, clustersPath+"/weak", "weak", readText(t, strong))
	require.Equal(t, http.StatusOK, status, answer)
	d.act("denied", client.Update)
	for _, cloud := range []string{"unapproved", "denied", "deleted"} {
		status := d.await(cloud, inState(wire.CloudStateInstantiated))
		d.requireLogsIn(d.kubeconfig(cloud, "weak"), cloud, status.CommonName)
	}
	is := d.requestOf("denied")
	require.NotEqual(t, was.Name, is.Name)
	require.Equal(t, was.Spec.Request, is.Spec.Request, "the key is the same")
}

// requestOf is the newest request of a cloud in eu.
func (d *cloudDays) requestOf(cloud string) (newest signing.CertificateSigningRequest) {
	d.t.Helper()
	for _, r := range requestsIn(d.t, d.k[0]) {
		if r.Annotations["keysteward.io/logical-cloud"] == cloud && !r.CreationTimestamp.Before(&newest.CreationTimestamp) {
			newest = r
		}
	}
	require.NotEmpty(d.t, newest.Name, cloud)
	return newest
}

func (d *cloudDays) ourRequests(cluster int) requests.CertificateSigningRequestInterface {
	d.t.Helper()
	client, err := requests.NewForConfig(d.k[cluster].Admin)
	require.NoError(d.t, err)
	return client.CertificateSigningRequests()
}

// keepsUsersApart: two clouds with users of one name in one cluster, with keys of the
// other kinds.
func (d *cloudDays) keepsUsersApart() {
	t := d.t
	t.Helper()
	ctx := t.Context()
	names := map[string]string{}
	for cloud, algorithm := range map[string]wire.KeyAlgorithm{"bob-rsa": wire.KeyAlgorithmRSA4096, "bob-ed": wire.KeyAlgorithmEd25519} {
		d.describe(cloud, "bob", "us")
		_, err := d.client.LogicalClouds(cloudProject).Put(ctx, wire.LogicalCloud{
			Metadata: named(cloud), Spec: wire.LogicalCloudSpec{Namespace: cloud, User: wire.CloudUser{UserName: "bob"}, KeyAlgorithm: algorithm, ExpirationSeconds: 1200},
		})
		require.NoError(t, err)
		d.act(cloud, client.Instantiate)
	}
	for _, cloud := range []string{"bob-rsa", "bob-ed"} {
		names[cloud] = d.await(cloud, inState(wire.CloudStateInstantiated)).CommonName
	}
	require.NotEqual(t, names["bob-rsa"], names["bob-ed"])
	for cloud, other := range map[string]string{"bob-rsa": "bob-ed", "bob-ed": "bob-rsa"} {
		file := d.kubeconfig(cloud, "us")
		d.requireLogsIn(file, cloud, names[cloud])
		d.requireForbidden(file, "get", "pods", "-n", other)
	}
	status, answer := d.inAnotherProject("bob-ed")
	require.Equal(t, http.StatusConflict, status, "the namespace of another project: %s", answer)
}

// inAnotherProject instantiates a cloud of another project in the same namespace of us,
// written in the older spelling.
func (d *cloudDays) inAnotherProject(namespace string) (status int, answer string) {
	d.t.Helper()
	const theirs = "/v2/projects/theirs/logical-clouds"
	for _, made := range [][2]string{
		{"/v2/projects", `{"metadata":{"name":"theirs"}}`},
		{theirs, fmt.Sprintf(`{"metadata":{"name":"c"},"spec":{"namespace":%q,"user":{"user-name":"bob","type":"certificate"}}}`, namespace)},
		{theirs + "/c/cluster-references", `{"metadata":{"name":"us"},"spec":{"cluster-provider":"acme","cluster-name":"us","loadbalancer-ip":"10.0.0.1"}}`},
		{theirs + "/c/user-permissions", fmt.Sprintf(`{"metadata":{"name":"p"},"spec":{"namespace":%q,"apiGroups":[""],"resources":["pods"],"verbs":["list"]}}`, namespace)},
	} {
		status, answer = d.ask(http.MethodPost, made[0], asJSON, made[1])
		require.Equal(d.t, http.StatusCreated, status, "%s: %s", made[0], answer)
	}
	return d.ask(http.MethodPost, theirs+"/c/instantiate", "", "")
}

// takesLongNames: all names are as long as they may be.
func (d *cloudDays) takesLongNames() {
	t, ctx := d.t, d.t.Context()
	t.Helper()
	long, namespace := named(strings.Repeat("X_.", 42)+"yz"), strings.Repeat("n", 63)
	user := strings.Repeat("ü", 64)
	require.Len(t, long.Name, 128)
	_, err := d.client.Projects().Create(ctx, wire.Project{Metadata: long})
	require.NoError(t, err)
	_, err = d.client.LogicalClouds(long.Name).Create(ctx, wire.LogicalCloud{
		Metadata: long, Spec: wire.LogicalCloudSpec{Namespace: namespace, User: wire.CloudUser{UserName: user}},
	})
	require.NoError(t, err)
	_, err = d.client.References(long.Name, long.Name).Create(ctx, wire.ClusterReference{
		Metadata: long, Spec: wire.ClusterReferenceSpec{ClusterProvider: cloudProvider, Cluster: "us"},
	})
	require.NoError(t, err)
	_, err = d.client.Permissions(long.Name, long.Name).Create(ctx, wire.UserPermission{
		Metadata: long, Spec: wire.UserPermissionSpec{Namespace: namespace, APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list"}},
	})
	require.NoError(t, err)
	_, err = d.client.Quotas(long.Name, long.Name).Create(ctx, wire.ClusterQuota{Metadata: long, Spec: map[string]string{"pods": "1"}})
	require.NoError(t, err)
	_, err = d.client.Act(ctx, long.Name, long.Name, client.Instantiate)
	require.NoError(t, err)
	text, err := d.client.AwaitKubeconfig(ctx, client.KubeconfigOptions{Project: long.Name, Cloud: long.Name, Reference: long.Name}, nil)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		status, err := d.client.CloudStatus(ctx, long.Name, long.Name)
		return err == nil && status.State == wire.CloudStateInstantiated
	}, patience, pollTime)
	status, err := d.client.CloudStatus(ctx, long.Name, long.Name)
	require.NoError(t, err)
	d.requireLogsIn(d.keep(text), namespace, status.CommonName)
}
