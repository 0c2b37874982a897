package clouds

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/certificate"
	"github.com/keysteward/keysteward/node/seal"
)

// Somebody else took the name of our request: it is left alone, and another name is used.
func testForeignRequest(t *testing.T, s *scene) {
	t.Helper()
	s.cloud("c", []int{0})
	s.instantiate("c")
	name := ""
	in := s.begin()
	in.before = func(cmd *fsmpb.Command) bool {
		install := cmd.GetInstallCloudKey()
		if install == nil || name != "" {
			return true
		}
		name = install.GetRequests()[0].GetName()
		key := must(certificate.GenerateKey(certificate.ECDSAP256))(t)
		theirs := certificate.Object(certificate.Wanted{Name: name, Request: must(certificate.Request(key, install.GetKey().GetCommonName()))(t)})
		theirs.Labels = nil
		_, err := s.admin(0).CertificatesV1().CertificateSigningRequests().Create(t.Context(), theirs, metav1.CreateOptions{})
		return err == nil
	}
	s.leadIn(in)
	s.awaitUp("c")
	require.NotEmpty(t, name)
	require.NotEqual(t, name, s.row("c", 0).GetRequestName())
	require.Equal(t, uint64(2), s.row("c", 0).GetRound())
	theirs, err := s.admin(0).CertificatesV1().CertificateSigningRequests().Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	require.Empty(t, theirs.Status.Conditions, "it is neither approved nor deleted")
}

// requesting is what a user needs for all but approving.
var requesting = []rbac.PolicyRule{
	{APIGroups: []string{certificates.GroupName}, Resources: []string{"certificatesigningrequests"}, Verbs: []string{"create", "get", "list", "watch", "delete"}},
	{APIGroups: []string{""}, Resources: []string{"namespaces", "resourcequotas"}, Verbs: []string{"*"}},
	{APIGroups: []string{rbac.GroupName}, Resources: []string{"*"}, Verbs: []string{"*"}},
}

var approving = []rbac.PolicyRule{
	{APIGroups: []string{certificates.GroupName}, Resources: []string{"certificatesigningrequests/approval"}, Verbs: []string{"update"}},
	{APIGroups: []string{certificates.GroupName}, Resources: []string{"signers"}, ResourceNames: []string{certificate.Signer}, Verbs: []string{"approve"}},
}

func testForbidden(t *testing.T, s *scene) {
	t.Helper()
	user := s.id() + "-limited"
	s.register("k0", s.kube[0].UserKubeconfig(user, requesting...), true)
	s.lead()
	s.cloud("c", []int{0})
	s.instantiate("c")
	detail := s.awaitCode("c", 0, CodeForbidden)
	require.Contains(t, detail, "certificatesigningrequests/approval")
	require.Contains(t, detail, certificate.Signer)
	require.NotEmpty(t, s.row("c", 0).GetRequestUid(), "the request is there")
	require.Equal(t, fsmpb.CertificateState_CERTIFICATE_STATE_REQUESTED, s.row("c", 0).GetState())

	roles := s.admin(0).RbacV1().ClusterRoles()
	role, err := roles.Get(t.Context(), user, metav1.GetOptions{})
	require.NoError(t, err)
	role.Rules = append(role.Rules, approving...)
	_, err = roles.Update(t.Context(), role, metav1.UpdateOptions{})
	require.NoError(t, err)
	s.awaitUp("c")
	require.Empty(t, s.row("c", 0).GetCode())
	require.Equal(t, uint64(1), s.row("c", 0).GetRound(), "it is the same request")
}

// The registered authority is that of another cluster, until the right one is registered.
func testOtherAuthority(t *testing.T, s *scene) {
	t.Helper()
	config := must(clientcmd.LoadFromFile(s.kube[0].AdminKubeconfig))(t)
	other := must(clientcmd.LoadFromFile(s.kube[1].AdminKubeconfig))(t)
	config.Clusters["c"].CertificateAuthorityData = other.Clusters["c"].CertificateAuthorityData
	s.registerText("k0", must(clientcmd.Write(*config))(t), true)
	s.lead(func(c *Config) { c.RetryMax = time.Hour })
	s.cloud("c", []int{0, 1})
	s.instantiate("c")
	s.awaitCode("c", 0, CodeAuthority)
	s.eventually(func() bool { return s.row("c", 1).GetPem() != "" }, "c", "the other cluster goes on")
	s.register("k0", s.kube[0].AdminKubeconfig, true)
	s.awaitUp("c")
}

func testNamespaceMissing(t *testing.T, s *scene) {
	t.Helper()
	s.lead()
	s.cloud("c", []int{0})
	elsewhere := s.namespace("elsewhere")
	s.permit("c", "else", elsewhere, "pods")
	s.instantiate("c")
	require.Contains(t, s.awaitCode("c", 0, CodeNamespaceMissing), elsewhere)
	s.requireMay(s.user("c", 0), "c", s.namespace("c"))
	_, err := s.admin(0).CoreV1().Namespaces().Create(t.Context(), &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: elsewhere}}, metav1.CreateOptions{})
	require.NoError(t, err)
	s.awaitUp("c")
	s.requireMay(s.user("c", 0), "c", elsewhere)
}

// What can not be removed is stuck, and removed when that is possible again.
func testStuck(t *testing.T, s *scene) {
	t.Helper()
	_, stop := s.lead()
	s.cloud("c", []int{0})
	s.instantiate("c")
	s.awaitUp("c")
	stop()
	config := must(clientcmd.LoadFromFile(s.kube[0].AdminKubeconfig))(t)
	config.Clusters["c"].Server = "https://127.0.0.1:1"
	s.registerText("k0", must(clientcmd.Write(*config))(t), true)
	s.lead(func(c *Config) { c.StuckAfter = time.Second })
	s.terminate("c")
	detail := s.awaitCode("c", 0, CodeUnreachable)
	require.Equal(t, "connection refused", detail)
	s.await("c", fsmpb.CloudState_CLOUD_STATE_TERMINATE_FAILED)
	require.Contains(t, s.row("c", 0).GetDetail(), CodeUnreachable)
	s.register("k0", s.kube[0].AdminKubeconfig, true)
	s.awaitTerminated("c")
	s.requireNothing(0)
}

// A leader that can not open secrets says so; the next one goes on.
func testSealed(t *testing.T, s *scene) {
	t.Helper()
	sealed := seal.NewVault(nil)
	_, stop := s.lead(func(c *Config) { c.Secrets = NewSecrets(sealed, s) })
	s.cloud("c", []int{0})
	s.instantiate("c")
	s.awaitCode("c", 0, CodeSealed)
	stop()
	s.lead()
	s.awaitUp("c")
}

// A cluster that is away delays only itself, and what was stored stays. The watch goes
// on when it is back, with a certificate that was asked for before.
func testAway(t *testing.T, s *scene) {
	t.Helper()
	s.lead()
	s.cloud("before", []int{0, 1})
	s.instantiate("before")
	s.awaitUp("before")
	s.kube[0].StopSigner()
	s.cloud("during", []int{0, 1})
	s.instantiate("during")
	s.eventually(func() bool {
		return s.row("during", 0).GetState() == fsmpb.CertificateState_CERTIFICATE_STATE_APPROVED
	}, "during", "the state should be told that the request is approved")
	s.kube[0].Stop()
	s.cloud("after", []int{0, 1})
	s.instantiate("after")
	s.awaitCode("after", 0, CodeUnreachable)
	s.awaitCode("during", 0, CodeUnreachable)
	s.eventually(func() bool { return s.row("after", 1).GetPem() != "" }, "after", "the other cluster goes on")
	require.NotEmpty(t, s.row("before", 0).GetPem())
	uid := s.row("during", 0).GetRequestUid()
	s.kube[0].Restart()
	s.kube[0].StartSigner()
	s.awaitUp("during", "after")
	require.Equal(t, uid, s.row("during", 0).GetRequestUid(), "it is the same request")
}
