package certificate_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keysteward/keysteward/node/kubernetes/certificate"
)

func TestProgress(t *testing.T) {
	t.Parallel()
	type object = certificates.CertificateSigningRequest
	all := func(changes ...func(*object)) func(*object) {
		return func(o *object) {
			for _, change := range changes {
				change(o)
			}
		}
	}
	by := func(manager, subresource string) func(*object) {
		return func(o *object) {
			o.ManagedFields = append(o.ManagedFields, metav1.ManagedFieldsEntry{Manager: manager, Subresource: subresource})
		}
	}
	issued := func(o *object) { o.Status.Certificate = []byte("x") }
	status := func(s core.ConditionStatus) func(*object) {
		return func(o *object) { o.Status.Conditions[0].Status = s }
	}
	message := func(m string) func(*object) { return func(o *object) { o.Status.Conditions[0].Message = m } }
	long := strings.Repeat("ü", 1<<20)
	for name, c := range map[string]struct {
		change func(*object)
		state  certificate.State
		reason string
	}{
		"nothing yet":         {nil, certificate.StatePending, ""},
		"a strange one":       {set("Strange"), certificate.StatePending, ""},
		"approved":            {set("Approved"), certificate.StateApproved, "approved: Because: of that"},
		"approved by":         {all(by("keysteward", ""), set("Approved"), by("kubectl", "approval")), certificate.StateApproved, "approved by kubectl: Because: of that"},
		"denied by":           {all(set("Denied"), by("signer", "status"), by("policy", "approval")), certificate.StateDenied, "denied by policy: Because: of that"},
		"failed by":           {all(set("Approved"), set("Failed"), by("policy", "approval"), by("signer", "status")), certificate.StateFailed, "failed by signer: Because: of that"},
		"issued":              {all(set("Approved"), issued), certificate.StateIssued, ""},
		"issued all the same": {all(set("Failed"), issued), certificate.StateIssued, ""},
		"taken back":          {all(set("Failed"), status(core.ConditionFalse)), certificate.StatePending, ""},
		"from before v1":      {all(set("Denied"), status("")), certificate.StateDenied, "denied: Because: of that"},
		"no words":            {all(set("Denied"), func(o *object) { o.Status.Conditions[0].Reason = "" }, message("")), certificate.StateDenied, "denied"},
		"lines":               {all(set("Denied"), message("a\nb\x1b[31m\xff")), certificate.StateDenied, "denied: Because: a b [31m?"},
		"long":                {all(set("Denied"), message(long)), certificate.StateDenied, "denied: Because: " + long[:494]},
		"foreign":             {all(set("Approved"), issued, func(o *object) { o.UID = "2" }), certificate.StateForeign, `the certificate request in Kubernetes is not ours: it was replaced: metadata.uid of "` + wanted().Name + `" is "2", not "uid-1"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state, reason := certificate.Progress(wanted(), held(c.change))
			require.Equal(t, c.state, state)
			require.Equal(t, c.reason, reason)
			require.LessOrEqual(t, len(reason), 512)
			require.True(t, utf8.ValidString(reason))
		})
	}
	state, _ := certificate.Progress(wanted(), nil)
	require.Equal(t, certificate.StateForeign, state)
}
