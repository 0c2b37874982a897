package kubetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"

	"github.com/stretchr/testify/require"
	certificates "k8s.io/api/certificates/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	client "k8s.io/client-go/kubernetes/typed/certificates/v1"
)

// probe is the name of the request by which a cluster is seen to sign.
const probe = "kubetest-probe"

// awaitSigner has a certificate signed.
func (c *Cluster) awaitSigner() {
	c.t.Helper()
	ctx := c.t.Context()
	clients, err := client.NewForConfig(c.Admin)
	require.NoError(c.t, err)
	requests := clients.CertificateSigningRequests()
	csr, err := requests.Create(ctx, c.probeRequest(), createOptions)
	require.NoError(c.t, err)
	approve(csr)
	_, err = requests.UpdateApproval(ctx, probe, csr, metav1.UpdateOptions{})
	require.NoError(c.t, err)
	c.managers.await(c.t, func() bool {
		csr, err := requests.Get(ctx, probe, metav1.GetOptions{})
		return err == nil && len(csr.Status.Certificate) > 0
	})
	require.NoError(c.t, requests.Delete(ctx, probe, metav1.DeleteOptions{}))
}

func approve(csr *certificates.CertificateSigningRequest) {
	csr.Status.Conditions = []certificates.CertificateSigningRequestCondition{
		{Type: certificates.CertificateApproved, Status: v1.ConditionTrue, Reason: "Probe"},
	}
}

func (c *Cluster) probeRequest() *certificates.CertificateSigningRequest {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(c.t, err)
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: probe}}, key)
	require.NoError(c.t, err)
	return &certificates.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: probe},
		Spec: certificates.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request}),
			SignerName: certificates.KubeAPIServerClientSignerName,
			Usages:     []certificates.KeyUsage{certificates.UsageClientAuth},
		},
	}
}
