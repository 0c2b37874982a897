package clouds

import (
	"testing"

	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// A registered cluster is given the kubeconfig of another one while clouds are in it:
// that is told, and nothing is done there until the right one is back.
func testOtherCluster(t *testing.T, s *scene) {
	t.Helper()
	d, _ := s.lead(sweeping)
	s.cloud("c", []int{0})
	s.cloud("d", []int{1})
	s.instantiate("c", "d")
	s.awaitUp("c", "d")
	s.register(clusterName(0), s.kube[1].AdminKubeconfig, true)
	require.Contains(t, s.awaitCode("c", 0, CodeOtherCluster), "put the kubeconfig of the earlier one back")
	s.awaitSweeps(d, "d", 3)
	s.requireMay(s.user("d", 1), "d", s.namespace("d"))
	_, err := s.admin(1).CoreV1().Namespaces().Get(t.Context(), s.namespace("c"), metav1.GetOptions{})
	require.Error(t, err, "nothing of c is brought there")
	s.register(clusterName(0), s.kube[0].AdminKubeconfig, true)
	s.awaitCode("c", 0, "")
	s.requireMay(s.user("c", 0), "c", s.namespace("c"))
}

// What others have set on their namespace is theirs, and stays when the cloud goes.
func testLabelTaken(t *testing.T, s *scene) {
	t.Helper()
	spaces := s.admin(0).CoreV1().Namespaces()
	_, err := spaces.Create(t.Context(), &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace("c"), Labels: map[string]string{"env": "prod"}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	s.lead()
	s.cloud("c", []int{0}, func(c *fsmpb.LogicalCloud) { c.Labels = map[string]string{"env": "dev"} })
	s.instantiate("c")
	require.Contains(t, s.awaitCode("c", 0, CodeLabelTaken), "env")
	s.terminate("c")
	s.awaitTerminated("c")
	found, err := spaces.Get(t.Context(), s.namespace("c"), metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, "prod", found.Labels["env"])
	require.NoError(t, spaces.Delete(t.Context(), s.namespace("c"), metav1.DeleteOptions{}))
}

// Two Keystewards do not share a namespace: the second is told why it waits, and takes
// its turn when the first has left.
func testTwoKeystewards(t *testing.T, s *scene) {
	t.Helper()
	other := newScene(t, s.kube...)
	shared := func(c *fsmpb.LogicalCloud) { c.Namespace = s.namespace("shared") }
	s.lead(sweeping)
	s.cloud("c", []int{0}, shared)
	s.instantiate("c")
	s.awaitUp("c")
	d, _ := other.lead(sweeping)
	other.cloud("c", []int{0}, shared)
	other.instantiate("c")
	require.Contains(t, other.awaitCode("c", 0, CodeLabelTaken), s.id())
	other.awaitSweeps(d, "c", 3)
	s.requireMay(s.user("c", 0), "c", s.namespace("shared"))
	s.terminate("c")
	s.awaitTerminated("c")
	other.awaitUp("c")
	other.requireMay(other.user("c", 0), "c", s.namespace("shared"))
	other.terminate("c")
	other.awaitTerminated("c")
}

// Somebody makes a binding of ours anew, for another role.
func testOtherRole(t *testing.T, s *scene) {
	t.Helper()
	s.lead(sweeping)
	s.cloud("c", []int{0})
	s.instantiate("c")
	s.awaitUp("c")
	bindings := s.admin(0).RbacV1().RoleBindings(s.namespace("c"))
	name := owner(s.View(), s.row("c", 0)).ObjectName(kindPermission, "pods")
	ours, err := bindings.Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	require.NoError(t, bindings.Delete(t.Context(), name, metav1.DeleteOptions{}))
	theirs := &rbac.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: ours.Labels}, Subjects: ours.Subjects,
		RoleRef: rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
	}
	s.eventually(func() bool { // the sweep may be faster
		_, err := bindings.Create(t.Context(), theirs, metav1.CreateOptions{})
		if err != nil {
			_ = bindings.Delete(t.Context(), name, metav1.DeleteOptions{})
		}
		return err == nil
	}, "c", "the binding is theirs")
	s.eventually(func() bool {
		found, err := bindings.Get(t.Context(), name, metav1.GetOptions{})
		return err == nil && found.RoleRef == ours.RoleRef
	}, "c", "the binding is ours again")
}
