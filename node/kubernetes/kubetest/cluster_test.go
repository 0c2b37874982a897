package kubetest

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	certificates "k8s.io/api/certificates/v1"
	v1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	client "k8s.io/client-go/kubernetes/typed/certificates/v1"
	core "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// soon is how long a controller may take on a busy machine.
const soon = time.Minute

// TestSigner starts two clusters and sees that they are two, and what their controllers do.
func TestSigner(t *testing.T) {
	t.Parallel()
	clusters := StartMany(t, 2, WithSigner())
	c, other := clusters[0], clusters[1]

	requireTwo(t, c, other)
	t.Run("quotas are counted and namespaces go away", func(t *testing.T) {
		t.Parallel()
		namespaceWithQuota(t, c)
	})

	t.Run("a signer that rests", func(t *testing.T) {
		t.Parallel()
		other.StopSigner()
		requests := signing(t, other.AdminKubeconfig)
		approved(t, other, requests)
		csr, err := requests.Get(t.Context(), probe, metav1.GetOptions{})
		require.NoError(t, err)
		require.Empty(t, csr.Status.Certificate)

		other.Stop()
		_, err = requests.Get(t.Context(), probe, metav1.GetOptions{})
		require.ErrorContains(t, err, "connection refused")
		other.Restart()
		other.StartSigner()
		certificate := awaitCertificate(t, requests)
		require.Equal(t, probe, certificate.Subject.CommonName)
		require.NoError(t, certificate.CheckSignatureFrom(other.pki.ca))
	})
}

// TestUserKubeconfig makes a user who may ask for certificates and not approve them.
func TestUserKubeconfig(t *testing.T) {
	t.Parallel()
	c := Start(t)
	file := c.UserKubeconfig("asker", rbacv1.PolicyRule{
		APIGroups: []string{certificates.GroupName}, Resources: []string{"certificatesigningrequests"}, Verbs: []string{"create", "get"},
	})
	requests := signing(t, file)
	csr, err := requests.Create(t.Context(), c.probeRequest(), createOptions)
	require.NoError(t, err, "the rules are in force")
	_, err = requests.UpdateApproval(t.Context(), csr.Name, csr, metav1.UpdateOptions{})
	require.True(t, apierrors.IsForbidden(err), "%v", err)
	require.ErrorContains(t, err, "certificatesigningrequests/approval")
}

// requireTwo sees that each cluster has an authority of its own, and a kubeconfig that needs no other files.
func requireTwo(t *testing.T, c, other *Cluster) {
	t.Helper()
	config := load(t, c.AdminKubeconfig)
	require.NoError(t, list(t, config.Host, config.CAData, config))
	require.Empty(t, config.CAFile+config.CertFile+config.KeyFile, "no other files")
	info, err := os.Stat(c.AdminKubeconfig)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	elsewhere := load(t, other.AdminKubeconfig)
	require.NotEqual(t, config.Host, elsewhere.Host)
	require.ErrorContains(t, list(t, elsewhere.Host, config.CAData, config), "unknown authority")
	err = list(t, elsewhere.Host, elsewhere.CAData, config)
	require.True(t, apierrors.IsUnauthorized(err), "%v", err)
}

func load(t *testing.T, file string) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", file)
	require.NoError(t, err)
	return config
}

// list lists namespaces with the certificate of a config, at another host perhaps.
func list(t *testing.T, host string, ca []byte, config *rest.Config) error {
	t.Helper()
	with := *config
	with.Host, with.CAData = host, ca
	clients, err := core.NewForConfig(&with)
	require.NoError(t, err)
	_, err = clients.Namespaces().List(t.Context(), metav1.ListOptions{})
	return err
}

func signing(t *testing.T, file string) client.CertificateSigningRequestInterface {
	t.Helper()
	clients, err := client.NewForConfig(load(t, file))
	require.NoError(t, err)
	return clients.CertificateSigningRequests()
}

func approved(t *testing.T, c *Cluster, requests client.CertificateSigningRequestInterface) {
	t.Helper()
	csr, err := requests.Create(t.Context(), c.probeRequest(), createOptions)
	require.NoError(t, err)
	approve(csr)
	_, err = requests.UpdateApproval(t.Context(), csr.Name, csr, metav1.UpdateOptions{})
	require.NoError(t, err)
}

func awaitCertificate(t *testing.T, requests client.CertificateSigningRequestInterface) *x509.Certificate {
	t.Helper()
	var text []byte
	require.Eventually(t, func() bool {
		csr, err := requests.Get(t.Context(), probe, metav1.GetOptions{})
		if err == nil {
			text = csr.Status.Certificate
		}
		return len(text) > 0
	}, soon, 20*time.Millisecond)
	block, _ := pem.Decode(text)
	require.NotNil(t, block)
	certificate, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return certificate
}

func namespaceWithQuota(t *testing.T, c *Cluster) {
	t.Helper()
	ctx := t.Context()
	c.CreatePod("quota", "web-0")
	hard := v1.ResourceList{v1.ResourcePods: resource.MustParse("3")}
	quotas := c.core.ResourceQuotas("quota")
	_, err := quotas.Create(ctx, &v1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: v1.ResourceQuotaSpec{Hard: hard}}, createOptions)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		quota, err := quotas.Get(ctx, "q", metav1.GetOptions{})
		return err == nil && quota.Status.Used.Pods().Value() == 1
	}, soon, 20*time.Millisecond, "one pod is there")

	c.DeletePod("quota", "web-0")
	require.NoError(t, c.core.Namespaces().Delete(ctx, "quota", metav1.DeleteOptions{}))
	require.Eventually(t, func() bool {
		_, err := c.core.Namespaces().Get(ctx, "quota", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}, soon, 20*time.Millisecond)
}
