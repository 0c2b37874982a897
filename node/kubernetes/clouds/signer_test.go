package clouds

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// On a cluster without a signer the test plays one.

// approved waits for the next approved request of the scene that is not the one of that
// name, and returns it.
func (s *scene) approved(but string) *certificates.CertificateSigningRequest {
	s.t.Helper()
	var found *certificates.CertificateSigningRequest
	s.eventually(func() bool {
		list, err := s.admin(0).CertificatesV1().CertificateSigningRequests().List(s.t.Context(), metav1.ListOptions{LabelSelector: ours(s.id())})
		require.NoError(s.t, err)
		for i := range list.Items {
			if list.Items[i].Name != but && len(list.Items[i].Status.Conditions) > 0 && len(list.Items[i].Status.Certificate) == 0 {
				found = &list.Items[i]
			}
		}
		return found != nil
	}, "c", "a request should be approved")
	return found
}

func (s *scene) decide(r *certificates.CertificateSigningRequest, kind certificates.RequestConditionType) {
	s.t.Helper()
	r.Status.Conditions = append(r.Status.Conditions, certificates.CertificateSigningRequestCondition{
		Type: kind, Status: core.ConditionTrue, Reason: "Test", Message: "by the test",
	})
	requests := s.admin(0).CertificatesV1().CertificateSigningRequests()
	var err error
	if kind == certificates.CertificateFailed {
		_, err = requests.UpdateStatus(s.t.Context(), r, metav1.UpdateOptions{})
	} else {
		_, err = requests.UpdateApproval(s.t.Context(), r.Name, r, metav1.UpdateOptions{})
	}
	require.NoError(s.t, err)
}

// issue writes a certificate into the request, by an authority of the test's own.
func (s *scene) issue(r *certificates.CertificateSigningRequest, change func(*x509.Certificate) crypto.PublicKey) {
	s.t.Helper()
	block, _ := pem.Decode(r.Spec.Request)
	request, err := x509.ParseCertificateRequest(block.Bytes)
	require.NoError(s.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(5), Subject: pkix.Name{CommonName: request.Subject.CommonName}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	public := request.PublicKey
	if changed := change(template); changed != nil {
		public = changed
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, newECDSA(s.t))
	require.NoError(s.t, err)
	r.Status.Certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	_, err = s.admin(0).CertificatesV1().CertificateSigningRequests().UpdateStatus(s.t.Context(), r, metav1.UpdateOptions{})
	require.NoError(s.t, err)
}

func newECDSA(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func testRequestDeleted(t *testing.T, s *scene) {
	t.Helper()
	s.lead()
	s.cloud("c", []int{0})
	s.instantiate("c")
	first := s.approved("")
	require.NoError(t, s.admin(0).CertificatesV1().CertificateSigningRequests().Delete(t.Context(), first.Name, metav1.DeleteOptions{}))
	second := s.approved(first.Name)
	require.NotEqual(t, first.Name, second.Name)
	s.eventually(func() bool { return s.row("c", 0).GetRound() == 2 }, "c", "the second round")
}

// A leader that was away does not miss that the request was deleted meanwhile.
func testDeletedMeanwhile(t *testing.T, s *scene) {
	t.Helper()
	_, stop := s.lead()
	s.cloud("c", []int{0})
	s.instantiate("c")
	first := s.approved("")
	s.eventually(func() bool { return s.row("c", 0).GetRequestUid() != "" }, "c", "the UID should be recorded")
	stop()
	require.NoError(t, s.admin(0).CertificatesV1().CertificateSigningRequests().Delete(t.Context(), first.Name, metav1.DeleteOptions{}))
	s.lead()
	require.NotEqual(t, first.Name, s.approved(first.Name).Name)
	require.NotContains(t, s.requests(0), first.Name, "a name whose UID was recorded is used up")
}

// A denial is final until somebody asks for an update.
func testDenied(t *testing.T, s *scene) {
	t.Helper()
	user := s.id() + "-limited"
	s.register("k0", s.kube[0].UserKubeconfig(user, requesting...), true)
	s.lead()
	s.cloud("c", []int{0})
	s.instantiate("c")
	s.awaitCode("c", 0, CodeForbidden)
	requests := s.admin(0).CertificatesV1().CertificateSigningRequests()
	r, err := requests.Get(t.Context(), s.row("c", 0).GetRequestName(), metav1.GetOptions{})
	require.NoError(t, err)
	s.decide(r, certificates.CertificateDenied)
	s.await("c", fsmpb.CloudState_CLOUD_STATE_INSTANTIATE_FAILED)
	require.Equal(t, CodeDenied, s.row("c", 0).GetCode())
	require.Contains(t, s.row("c", 0).GetDetail(), "by the test")
	s.register("k0", s.kube[0].AdminKubeconfig, true)
	s.act("c", fsmpb.ActOnCloud_ACTION_UPDATE)
	require.NotEqual(t, r.Name, s.approved(r.Name).Name)
}

func testFailed(t *testing.T, s *scene) {
	t.Helper()
	s.lead()
	s.cloud("c", []int{0})
	s.instantiate("c")
	s.decide(s.approved(""), certificates.CertificateFailed)
	s.await("c", fsmpb.CloudState_CLOUD_STATE_INSTANTIATE_FAILED)
	require.Equal(t, CodeFailed, s.row("c", 0).GetCode())
	require.Contains(t, s.row("c", 0).GetDetail(), "by the test")
	s.eventually(func() bool { return s.row("c", 0).GetApplied() == s.row("c", 0).GetWanted() }, "c", "the objects are applied all the same")
	s.terminate("c")
	s.eventually(func() bool { return len(s.holdings(0)) == 0 }, "c", "everything goes")
}

func testSilentSigner(t *testing.T, s *scene) {
	t.Helper()
	s.lead(func(c *Config) { c.SilentAfter = time.Second })
	s.cloud("c", []int{0})
	s.instantiate("c")
	s.eventually(func() bool { return s.row("c", 0).GetState() == fsmpb.CertificateState_CERTIFICATE_STATE_APPROVED }, "c", "approved")
	s.awaitCode("c", 0, CodeSignerSilent)
	s.act("c", fsmpb.ActOnCloud_ACTION_ROTATE_KEY)
	next := s.approved(s.requests(0)[0])
	require.NotNil(t, next, "a new generation does not wait for the old one's certificate")
}

// A certificate that is waited for is seen through the kubeconfig that was registered
// meanwhile, too.
func testOtherKubeconfig(t *testing.T, s *scene) {
	t.Helper()
	s.lead()
	s.cloud("c", []int{0})
	s.instantiate("c")
	r := s.approved("")
	s.register("k0", s.kube[0].UserKubeconfig(s.id()+"-other", append(approving, requesting...)...), true)
	s.decide(r, certificates.CertificateFailed)
	s.await("c", fsmpb.CloudState_CLOUD_STATE_INSTANTIATE_FAILED)
}

// What was issued and is not what was asked for is never stored; another request is
// made, not at once.
func testUnfit(t *testing.T, s *scene) {
	t.Helper()
	s.lead()
	s.cloud("c", []int{0})
	s.instantiate("c")
	last := ""
	for _, unfit := range []struct {
		name, code, detail string
		change             func(*x509.Certificate) crypto.PublicKey
	}{
		{"another key", CodeRefused, "another key", func(*x509.Certificate) crypto.PublicKey { return newECDSA(t).Public() }},
		{"another name", CodeRefused, "another name", func(c *x509.Certificate) crypto.PublicKey { c.Subject.CommonName = "admin"; return nil }},
		{"expired", CodeClock, "expired", func(c *x509.Certificate) crypto.PublicKey { c.NotAfter = time.Now().Add(-time.Minute); return nil }},
		{"not yet valid", CodeClock, "not valid yet", func(c *x509.Certificate) crypto.PublicKey { c.NotBefore = time.Now().Add(30 * time.Minute); return nil }},
		{"authority that the API server does not know", CodeRefused, "log in", func(*x509.Certificate) crypto.PublicKey { return nil }},
	} {
		r := s.approved(last)
		s.issue(r, unfit.change)
		s.eventually(func() bool { return s.row("c", 0).GetCode() == unfit.code || s.row("c", 0).GetRound() > 1 }, "c", "%s", unfit.name)
		s.eventually(func() bool { return s.approved(r.Name).Name != r.Name }, "c", "another request after %s", unfit.name)
		require.Empty(t, s.row("c", 0).GetPem(), unfit.name)
		last = r.Name
	}
	var lost []string
	for record := range s.View().Audit(0) {
		if record.GetAction() == "certificate.lost" {
			lost = append(lost, record.GetDetail())
		}
	}
	require.Len(t, lost, 5)
}
