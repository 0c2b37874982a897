package certificate_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/keysteward/keysteward/node/kubernetes/certificate"
)

// held is the recorded request as Kubernetes holds it, with a change.
func held(change func(*certificates.CertificateSigningRequest)) *certificates.CertificateSigningRequest {
	object := certificate.Object(wanted())
	object.UID = "uid-1"
	object.Spec.Username = "keysteward-registered"
	object.Labels["somebody-elses"] = "label"
	if change != nil {
		change(object)
	}
	return object
}

func set(kind certificates.RequestConditionType) func(*certificates.CertificateSigningRequest) {
	return func(c *certificates.CertificateSigningRequest) {
		c.Status.Conditions = append(c.Status.Conditions, certificates.CertificateSigningRequestCondition{
			Type: kind, Status: core.ConditionTrue, Reason: "Because", Message: "of that",
		})
	}
}

func TestObject(t *testing.T) {
	t.Parallel()
	object := certificate.Object(wanted())
	require.Equal(t, "kubernetes.io/kube-apiserver-client", object.Spec.SignerName)
	require.Equal(t, []certificates.KeyUsage{"digital signature", "client auth"}, object.Spec.Usages)
	require.Equal(t, int32(3600), *object.Spec.ExpirationSeconds)
	require.Equal(t, map[string]string{
		"app.kubernetes.io/managed-by": "keysteward", "keysteward.io/cluster-id": owner.ClusterID,
		"keysteward.io/cloud": owner.CloudID(), "keysteward.io/generation": "3",
	}, object.Labels)
	require.Equal(t, map[string]string{
		"keysteward.io/project": "p", "keysteward.io/logical-cloud": "c", "keysteward.io/reference": "east",
	}, object.Annotations)
	for key, value := range object.Labels {
		require.Empty(t, validation.IsQualifiedName(key))
		require.Empty(t, validation.IsValidLabelValue(value))
	}
	w := wanted()
	w.ExpirationSeconds = 0
	require.Nil(t, certificate.Object(w).Spec.ExpirationSeconds)
}

func TestApprove(t *testing.T) {
	t.Parallel()
	type object = certificates.CertificateSigningRequest
	seconds := int32(7200)
	for name, c := range map[string]struct {
		change func(*object)
		is     error
		says   string
	}{
		"as it was made":      {nil, nil, ""},
		"approved already":    {set(certificates.CertificateApproved), nil, ""},
		"usages in any order": {func(o *object) { slices.Reverse(o.Spec.Usages) }, nil, ""},
		"name":                {func(o *object) { o.Name = "other" }, certificate.ErrForeign, "metadata.name"},
		"uid":                 {func(o *object) { o.UID = "uid-2" }, certificate.ErrReplaced, "metadata.uid"},
		"no uid":              {func(o *object) { o.UID = "" }, certificate.ErrForeign, "metadata.uid"},
		"another's bytes": {func(o *object) {
			der, err := certificate.Request(bobKey(), wanted().CommonName)
			require.NoError(t, err)
			o.Spec.Request = certificate.RequestPEM(der)
		}, certificate.ErrForeign, "spec.request"},
		"the same key again": {func(o *object) {
			der, err := certificate.Request(aliceKey(), wanted().CommonName) // signed anew
			require.NoError(t, err)
			o.Spec.Request = certificate.RequestPEM(der)
		}, certificate.ErrForeign, "spec.request"},
		"a byte more":      {func(o *object) { o.Spec.Request = append(o.Spec.Request, '\n') }, certificate.ErrForeign, "spec.request"},
		"no bytes":         {func(o *object) { o.Spec.Request = nil }, certificate.ErrForeign, "spec.request"},
		"signer":           {func(o *object) { o.Spec.SignerName = "kubernetes.io/kubelet-serving" }, certificate.ErrForeign, "spec.signerName"},
		"a usage more":     {func(o *object) { o.Spec.Usages = append(o.Spec.Usages, "server auth") }, certificate.ErrForeign, "spec.usages"},
		"a usage less":     {func(o *object) { o.Spec.Usages = o.Spec.Usages[:1] }, certificate.ErrForeign, "spec.usages"},
		"expiration":       {func(o *object) { o.Spec.ExpirationSeconds = &seconds }, certificate.ErrForeign, "spec.expirationSeconds"},
		"no expiration":    {func(o *object) { o.Spec.ExpirationSeconds = nil }, certificate.ErrForeign, "spec.expirationSeconds"},
		"no labels":        {func(o *object) { o.Labels = nil }, certificate.ErrForeign, "managed-by"},
		"cluster's label":  {func(o *object) { o.Labels[certificate.LabelClusterID] = "x" }, certificate.ErrForeign, "keysteward.io/cluster-id"},
		"cloud's label":    {func(o *object) { o.Labels[certificate.LabelCloud] = "x" }, certificate.ErrForeign, "keysteward.io/cloud"},
		"generation":       {func(o *object) { o.Labels[certificate.LabelGeneration] = "4" }, certificate.ErrForeign, "keysteward.io/generation"},
		"denied":           {set(certificates.CertificateDenied), certificate.ErrDecided, "denied: Because: of that"},
		"failed":           {set(certificates.CertificateFailed), certificate.ErrDecided, "failed: Because: of that"},
		"approved, failed": {func(o *object) { set("Approved")(o); set("Failed")(o) }, certificate.ErrDecided, "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := certificate.Approve(wanted(), held(c.change))
			if c.is == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, c.is)
			require.ErrorContains(t, err, c.says)
		})
	}
	require.ErrorIs(t, certificate.Approve(wanted(), nil), certificate.ErrForeign)
	require.ErrorIs(t, certificate.ErrReplaced, certificate.ErrForeign)
}

// A record whose own bytes ask for something else is not approved, although Kubernetes
// holds just these bytes.
func TestApproveDistrustsTheRecord(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*certificate.Wanted){
		"name": func(w *certificate.Wanted) { w.CommonName = owner.CommonName("bob") },
		"key":  func(w *certificate.Wanted) { w.SPKI = bobKey().SPKI() },
	} {
		w := wanted()
		change(&w)
		require.ErrorIs(t, certificate.Approve(w, held(nil)), certificate.ErrRequest, name)
	}
	w := wanted()
	w.UID = ""
	require.NoError(t, certificate.Approve(w, held(nil)), "no UID is known before the object was made")
	var none certificate.Wanted
	require.Error(t, certificate.Approve(none, &certificates.CertificateSigningRequest{}))
	w.Request = nil
	require.ErrorIs(t, certificate.Approve(w, certificate.Object(w)), certificate.ErrForeign)
}

func TestApproval(t *testing.T) {
	t.Parallel()
	before := held(nil)
	approved := certificate.Approval(before, now)
	require.Empty(t, before.Status.Conditions, "a copy is changed")
	require.Len(t, approved.Status.Conditions, 1)
	condition := approved.Status.Conditions[0]
	require.Equal(t, certificates.CertificateApproved, condition.Type)
	require.Equal(t, core.ConditionTrue, condition.Status)
	require.Equal(t, metav1.NewTime(now), condition.LastUpdateTime)
	state, _ := certificate.Progress(wanted(), approved)
	require.Equal(t, certificate.StateApproved, state)
}
