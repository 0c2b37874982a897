package certificate

import (
	"time"

	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// Signer is who signs: Kubernetes' own signer for clients of its API server.
	Signer = certificates.KubeAPIServerClientSignerName
	// MinExpirationSeconds is the least that Kubernetes accepts.
	MinExpirationSeconds = 600
)

// Wanted is the request that was recorded before it was sent: what an object in
// Kubernetes is held against.
type Wanted struct {
	// Name is that of the object, of [RequestName].
	Name string
	// UID is that of the object, empty until Kubernetes has given one.
	UID types.UID
	// Owner is whose it is.
	Owner Owner
	// Request is the PKCS#10 request in DER.
	Request []byte
	// CommonName and SPKI (SubjectPublicKeyInfo, DER) are what it must ask for.
	CommonName string
	SPKI       []byte
	// ExpirationSeconds is the life to ask for, at least MinExpirationSeconds; 0 leaves
	// it to the signer, which may shorten it in any case.
	ExpirationSeconds int32
}

// Usages are what the certificate is for. Kubernetes' signer requires client auth and
// allows digital signature, which a client needs in TLS with every kind of key; it
// would Fail a request for more.
func Usages() []certificates.KeyUsage {
	return []certificates.KeyUsage{certificates.UsageDigitalSignature, certificates.UsageClientAuth}
}

// Approval is a copy of an object with the condition that approves it, for
// UpdateApproval. Ask [Approve] first; Kubernetes refuses a second such condition.
func Approval(got *certificates.CertificateSigningRequest, now time.Time) *certificates.CertificateSigningRequest {
	approved := got.DeepCopy()
	approved.Status.Conditions = append(approved.Status.Conditions, certificates.CertificateSigningRequestCondition{
		Type:           certificates.CertificateApproved,
		Status:         core.ConditionTrue,
		Reason:         "KeystewardRecorded",
		Message:        "Keysteward recorded this request before it made it, and it holds the same bytes.",
		LastUpdateTime: metav1.NewTime(now),
	})
	return approved
}

// Object is the object to create in Kubernetes.
func Object(w Wanted) *certificates.CertificateSigningRequest {
	object := &certificates.CertificateSigningRequest{
		TypeMeta: metav1.TypeMeta{APIVersion: certificates.SchemeGroupVersion.String(), Kind: "CertificateSigningRequest"},
		ObjectMeta: metav1.ObjectMeta{
			Name:        w.Name,
			Labels:      w.Owner.Labels(),
			Annotations: w.Owner.Annotations(),
		},
		Spec: certificates.CertificateSigningRequestSpec{
			Request:    RequestPEM(w.Request),
			SignerName: Signer,
			Usages:     Usages(),
		},
	}
	if w.ExpirationSeconds != 0 {
		object.Spec.ExpirationSeconds = &w.ExpirationSeconds
	}
	return object
}
