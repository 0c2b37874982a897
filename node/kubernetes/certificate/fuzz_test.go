package certificate_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keysteward/keysteward/node/kubernetes/certificate"
)

// FuzzCheck: whatever is accepted is accepted again after it was written anew.
func FuzzCheck(f *testing.F) {
	f.Add(clients().issue(aliceKey().Public(), nil), clients().pem())
	f.Add(append(between().issue(aliceKey().Public(), nil), between().pem()...), clients().pem())
	f.Add(clients().issue(bobKey().Public(), nil), servers().pem())
	f.Add([]byte("x"), []byte("x"))
	f.Fuzz(func(t *testing.T, text, authority []byte) {
		i := issued(text)
		i.Authority = authority
		leaf, err := certificate.Check(i)
		if err != nil {
			return
		}
		i.PEM = leaf.PEM
		again, err := certificate.Check(i)
		require.NoError(t, err)
		require.Equal(t, leaf, again)
	})
}

// FuzzApprove: only the bytes that were recorded are approved, whoever wrote the object.
func FuzzApprove(f *testing.F) {
	f.Add(wanted().Name, "uid-1", certificate.RequestPEM(request()), certificate.Signer, "client auth", int32(3600), "3", "Approved", "why")
	f.Add(wanted().Name, "uid-2", []byte("x"), "a/b", "server auth", int32(-1), "4", "Denied", "\x1b[0m\xff\n")
	f.Fuzz(func(t *testing.T, name, uid string, request []byte, signer, usage string, seconds int32, generation, kind, message string) {
		got := held(nil)
		got.Name, got.UID, got.Spec.Request, got.Spec.SignerName = name, types.UID(uid), request, signer
		got.Spec.Usages[1] = certificates.KeyUsage(usage)
		got.Spec.ExpirationSeconds = &seconds
		got.Labels[certificate.LabelGeneration] = generation
		got.Status.Conditions = []certificates.CertificateSigningRequestCondition{
			{Type: certificates.RequestConditionType(kind), Status: core.ConditionTrue, Reason: message, Message: message},
		}
		w := wanted()
		ours := name == w.Name && uid == "uid-1" && string(request) == string(certificate.RequestPEM(w.Request)) &&
			signer == certificate.Signer && usage == "client auth" && seconds == 3600 && generation == "3"
		err := certificate.Approve(w, got)
		require.Equal(t, ours && kind != "Denied" && kind != "Failed", err == nil, "%v", err)
		state, reason := certificate.Progress(w, got)
		require.Equal(t, !ours, state == certificate.StateForeign)
		require.LessOrEqual(t, len(reason), 512)
		require.NotContains(t, reason, "\n")
		require.NotContains(t, reason, "\x1b")
	})
}
