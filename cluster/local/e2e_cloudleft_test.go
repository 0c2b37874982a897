package local

import (
	"testing"

	"github.com/stretchr/testify/require"
	signing "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	requests "k8s.io/client-go/kubernetes/typed/certificates/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"

	"github.com/keysteward/keysteward/node/kubernetes/kubetest"
)

// labelOfCluster is on everything that Keysteward makes in a Kubernetes cluster, and on
// namespaces that it uses.
const labelOfCluster = "keysteward.io/cluster-id"

var ours = metav1.ListOptions{LabelSelector: labelOfCluster}

var kindsOfOurs = []schema.GroupVersionResource{
	signing.SchemeGroupVersion.WithResource("certificatesigningrequests"),
	rbac.SchemeGroupVersion.WithResource("clusterrolebindings"),
	rbac.SchemeGroupVersion.WithResource("clusterroles"),
	rbac.SchemeGroupVersion.WithResource("rolebindings"),
	rbac.SchemeGroupVersion.WithResource("roles"),
	core.SchemeGroupVersion.WithResource("resourcequotas"),
	core.SchemeGroupVersion.WithResource("namespaces"),
}

// oursIn is everything in a Kubernetes cluster that is labelled as ours.
func oursIn(t *testing.T, k *kubetest.Cluster) (found []string) {
	t.Helper()
	client, err := metadata.NewForConfig(k.Admin)
	require.NoError(t, err)
	for _, kind := range kindsOfOurs {
		list, err := client.Resource(kind).List(t.Context(), ours)
		require.NoError(t, err)
		for _, o := range list.Items {
			found = append(found, kind.Resource+" "+o.Namespace+"/"+o.Name)
		}
	}
	return found
}

// requestsIn are our certificate signing requests in a Kubernetes cluster.
func requestsIn(t *testing.T, k *kubetest.Cluster) []signing.CertificateSigningRequest {
	t.Helper()
	client, err := requests.NewForConfig(k.Admin)
	require.NoError(t, err)
	list, err := client.CertificateSigningRequests().List(t.Context(), ours)
	require.NoError(t, err)
	return list.Items
}

// namespacesOf lets a test look at namespaces, and make them.
func namespacesOf(t *testing.T, k *kubetest.Cluster) coreclient.NamespaceInterface {
	t.Helper()
	client, err := coreclient.NewForConfig(k.Admin)
	require.NoError(t, err)
	return client.Namespaces()
}
