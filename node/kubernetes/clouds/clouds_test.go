package clouds

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/kubetest"
)

// TestOnKubernetes runs the duty on two real clusters, which its parts share, and on
// one that has no signer.
func TestOnKubernetes(t *testing.T) { //nolint:tparallel // the last parts have the clusters for themselves
	t.Parallel()
	kube := kubetest.StartMany(t, 2, kubetest.WithSigner())
	mute := kubetest.Start(t)
	t.Run("together", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, *scene){
			"whole way": testWholeWay, "two clouds of one user": testOneUser, "second reference": testSecondReference,
			"namespace that was there": testForeignNamespace, "shared namespace": testSharedNamespace, "rotate key": testRotateKey,
			"foreign request": testForeignRequest, "forbidden": testForbidden, "other authority": testOtherAuthority,
			"namespace missing": testNamespaceMissing, "stuck": testStuck, "sweep": testSweep, "drift": testDrift,
			"later state": testLaterState, "renewal": testRenewal, "many": testMany, "sealed": testSealed, "one cluster under two names": testTwins,
			"another cluster": testOtherCluster, "label taken": testLabelTaken, "two Keystewards": testTwoKeystewards, "another role": testOtherRole, "algorithms": testAlgorithms,
			"traced": testTraced, "told though nothing is left to do": testToldThoughDone, "leader dies": testLeaderDies, "answer lost": testAnswerLost, "leader paused": testLeaderPaused,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, newScene(t, kube...))
			})
		}
		for name, test := range map[string]func(*testing.T, *scene){
			"request deleted": testRequestDeleted, "deleted meanwhile": testDeletedMeanwhile, "denied": testDenied, "failed": testFailed, "silent signer": testSilentSigner, "other kubeconfig": testOtherKubeconfig,
			"certificates that do not fit": testUnfit,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, newScene(t, mute))
			})
		}
	})
	t.Run("away", func(t *testing.T) { testAway(t, newScene(t, kube...)) }) //nolint:paralleltest // it stops a cluster
}

func testWholeWay(t *testing.T, s *scene) {
	t.Helper()
	s.lead()
	s.cloud("c", []int{0, 1}, func(c *fsmpb.LogicalCloud) { c.Labels = map[string]string{"team": "a"} })
	s.permit("c", "everywhere", "", "nodes")
	s.instantiate("c")
	s.awaitUp("c")
	cloud := s.get("c")
	for k := range 2 {
		row := s.row("c", k)
		require.Equal(t, fsmpb.CertificateState_CERTIFICATE_STATE_ISSUED, row.GetState())
		require.Equal(t, cloud.GetPlan().GetRevision(), row.GetApplied())
		user := s.user("c", k)
		requireUser(t, user, cloud.GetKey().GetCommonName())
		s.requireMay(user, "c", cloud.GetNamespace())
		s.requireMayNot(user, "default")
		_, err := user.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err)
		namespace, err := s.admin(k).CoreV1().Namespaces().Get(t.Context(), cloud.GetNamespace(), metav1.GetOptions{})
		require.NoError(t, err)
		require.Equal(t, "a", namespace.Labels["team"])
		quotas, err := s.admin(k).CoreV1().ResourceQuotas(cloud.GetNamespace()).List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err)
		require.Len(t, quotas.Items, 1)
		require.Equal(t, int64(10), quotas.Items[0].Spec.Hard.Pods().Value())
		require.Len(t, s.holdings(k), 7, "%v", s.holdings(k)) // namespace, quota, request, two roles, two bindings
	}
	require.NotEqual(t, s.row("c", 0).GetRequestName(), s.row("c", 1).GetRequestName())
	old, pem := must(s.secrets.CloudKey(t.Context(), cloud))(t), s.row("c", 0).GetPem()
	s.terminate("c")
	s.awaitTerminated("c")
	for k := range 2 {
		require.Empty(t, s.holdings(k))
		_, err := s.admin(k).CoreV1().Namespaces().Get(t.Context(), cloud.GetNamespace(), metav1.GetOptions{})
		require.Error(t, err, "it is gone, and not only on its way")
	}

	s.instantiate("c")
	s.awaitUp("c")
	again := s.get("c")
	require.NotEqual(t, cloud.GetKey().GetCommonName(), again.GetKey().GetCommonName())
	require.Greater(t, again.GetGeneration(), cloud.GetGeneration())
	s.requireMay(s.user("c", 0), "c", cloud.GetNamespace())
	s.requireMayNot(s.userWith(0, pem, old), cloud.GetNamespace())
}

func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		require.NoError(t, err)
		return value
	}
}

func testOneUser(t *testing.T, s *scene) {
	t.Helper()
	s.cloud("a", []int{0})
	s.cloud("b", []int{0})
	s.instantiate("a", "b")
	s.lead()
	s.awaitUp("a", "b")
	a, b := s.user("a", 0), s.user("b", 0)
	s.requireMay(a, "a", s.namespace("a"))
	s.requireMay(b, "b", s.namespace("b"))
	s.requireMayNot(a, s.namespace("b"))
	s.requireMayNot(b, s.namespace("a"))
}

func testSecondReference(t *testing.T, s *scene) {
	t.Helper()
	s.lead()
	s.cloud("c", []int{0})
	s.instantiate("c")
	s.awaitUp("c")
	before := s.row("c", 0)
	s.refer("c", 1)
	s.permit("c", "more", s.namespace("c"), "services")
	s.act("c", fsmpb.ActOnCloud_ACTION_UPDATE)
	s.awaitUp("c")
	after := s.row("c", 0)
	require.Equal(t, before.GetPem(), after.GetPem())
	require.Equal(t, before.GetRequestUid(), after.GetRequestUid())
	require.Equal(t, before.GetRound(), after.GetRound())
	require.Greater(t, after.GetApplied(), before.GetApplied())
	requireUser(t, s.user("c", 1), s.get("c").GetKey().GetCommonName())
	require.Len(t, s.holdings(0), 7)
	require.Len(t, s.holdings(1), 7)

	s.propose(&fsmpb.Command{Body: &fsmpb.Command_DeleteObject{DeleteObject: &fsmpb.DeleteObject{Object: &fsmpb.Object{
		Kind: &fsmpb.Object_Permission{Permission: s.View().UserPermission(project, "c", "more")},
	}}}})
	s.act("c", fsmpb.ActOnCloud_ACTION_UPDATE)
	s.awaitUp("c")
	require.Len(t, s.holdings(0), 5, "what left the plan is gone when the update has ended")
}

// A namespace that we did not make is labelled, and stays without our labels.
func testForeignNamespace(t *testing.T, s *scene) {
	t.Helper()
	name := s.namespace("old")
	spaces := s.admin(0).CoreV1().Namespaces()
	_, err := spaces.Create(t.Context(), &core.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"theirs": "yes", "app.kubernetes.io/managed-by": "helm"},
	}}, metav1.CreateOptions{})
	require.NoError(t, err)
	s.lead()
	s.cloud("old", []int{0}, func(c *fsmpb.LogicalCloud) { c.Labels = map[string]string{"ours": "yes"} })
	s.instantiate("old")
	s.awaitUp("old")
	found, err := spaces.Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, "yes", found.Labels["theirs"])
	require.Equal(t, "yes", found.Labels["ours"])
	require.Equal(t, "helm", found.Labels["app.kubernetes.io/managed-by"])
	s.terminate("old")
	s.awaitTerminated("old")
	found, err = spaces.Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	require.Nil(t, found.DeletionTimestamp)
	require.Equal(t, map[string]string{"theirs": "yes", "app.kubernetes.io/managed-by": "helm", "kubernetes.io/metadata.name": name}, found.Labels)
	require.Empty(t, s.holdings(0))
}

// Two clouds share the namespace that the first of them made.
func testSharedNamespace(t *testing.T, s *scene) {
	t.Helper()
	s.lead()
	space := s.namespace("shared")
	for _, name := range []string{"a", "b"} {
		s.cloud(name, []int{0}, func(c *fsmpb.LogicalCloud) {
			c.Namespace, c.Labels = space, map[string]string{name: "yes"}
		})
	}
	s.instantiate("a", "b")
	s.awaitUp("a", "b")
	labels := func() map[string]string {
		found, err := s.admin(0).CoreV1().Namespaces().Get(t.Context(), space, metav1.GetOptions{})
		require.NoError(t, err)
		require.Nil(t, found.DeletionTimestamp)
		return found.Labels
	}
	require.Subset(t, labels(), map[string]string{"a": "yes", "b": "yes"})
	s.terminate("a")
	s.awaitTerminated("a")
	require.NotContains(t, labels(), "a")
	require.Contains(t, labels(), "b")
	s.requireMay(s.user("b", 0), "b", space)
	s.terminate("b")
	s.awaitTerminated("b")
	s.requireNothing(0)
}

func testRotateKey(t *testing.T, s *scene) {
	t.Helper()
	s.lead()
	s.cloud("c", []int{0, 1})
	s.instantiate("c")
	s.awaitUp("c")
	old := s.user("c", 0)
	s.requireMay(old, "c", s.namespace("c"))
	s.act("c", fsmpb.ActOnCloud_ACTION_ROTATE_KEY)
	s.awaitUp("c")
	s.requireMay(s.user("c", 0), "c", s.namespace("c"))
	s.eventually(func() bool { return !mayList(t.Context(), old, s.namespace("c")) }, "c", "the old certificate should be good for nothing")
	require.Len(t, slices.DeleteFunc(s.holdings(0), func(name string) bool { return name[:7] == "request" }), 4)
}

func testAlgorithms(t *testing.T, s *scene) {
	t.Helper()
	s.lead()
	for _, algorithm := range []string{"Ed25519", "RSA-4096"} {
		s.cloud(algorithm, []int{0}, func(c *fsmpb.LogicalCloud) { c.Algorithm, c.Namespace = algorithm, s.namespace("algorithms") })
		s.instantiate(algorithm)
	}
	s.awaitUp("Ed25519", "RSA-4096")
	for _, algorithm := range []string{"Ed25519", "RSA-4096"} {
		requireUser(t, s.user(algorithm, 0), s.get(algorithm).GetKey().GetCommonName())
	}
}

func testMany(t *testing.T, s *scene) {
	t.Helper()
	s.lead()
	var names []string
	for i := range 12 {
		names = append(names, clusterName(i))
		s.cloud(names[i], []int{0, 1})
	}
	s.instantiate(names...)
	s.awaitUp(names...)
	require.Len(t, s.requests(0), len(names))
	for _, name := range names {
		s.terminate(name)
	}
	for _, name := range names {
		s.awaitTerminated(name)
	}
	s.requireNothing(0)
	s.requireNothing(1)
}
