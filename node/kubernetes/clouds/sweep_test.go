package clouds

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/certificate"
)

func sweeping(c *Config) { c.SweepEvery = 300 * time.Millisecond }

// A leader that slept applies something of a generation that is over.
func testSweep(t *testing.T, s *scene) {
	t.Helper()
	_, stop := s.lead()
	s.cloud("c", []int{0})
	s.instantiate("c")
	s.awaitUp("c")
	cloud, c := s.get("c"), s.connection(0)
	list := must(pieces(owner(s.View(), s.row("c", 0)), cloud))(t)
	old := s.user("c", 0)
	stop()
	s.act("c", fsmpb.ActOnCloud_ACTION_ROTATE_KEY)
	s.lead(sweeping)
	s.awaitUp("c")
	for i := range list {
		require.NoError(t, list[i].apply(t.Context(), c))
	}
	s.eventually(func() bool { return len(s.holdings(0)) == 5 }, "c", "the old generation is swept")
	s.eventually(func() bool { return !mayList(t.Context(), old, s.namespace("c")) }, "c", "and its user may do nothing")
	s.requireMay(s.user("c", 0), "c", s.namespace("c"))

	s.terminate("c")
	s.awaitTerminated("c")
	late := &worker{key: clusterKey{provider, "k0"}, session: s, spaces: make(map[string]*sync.Mutex)}
	require.NoError(t, late.prepareNamespace(t.Context(), c, cloud, cloud.GetGeneration()))
	for i := range list {
		require.NoError(t, list[i].apply(t.Context(), c))
	}
	s.requireNothing(0)
}

// What others deleted or changed is applied again.
func testDrift(t *testing.T, s *scene) {
	t.Helper()
	s.lead(sweeping)
	s.cloud("c", []int{0})
	s.instantiate("c")
	s.awaitUp("c")
	space := s.namespace("c")
	access := s.admin(0).RbacV1()
	name := owner(s.View(), s.row("c", 0)).ObjectName(kindPermission, "pods")
	require.NoError(t, access.RoleBindings(space).Delete(t.Context(), name, metav1.DeleteOptions{}))
	s.eventually(func() bool {
		_, err := access.RoleBindings(space).Get(t.Context(), name, metav1.GetOptions{})
		return err == nil
	}, "c", "the binding is back")
	role, err := access.Roles(space).Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	role.Rules = append(role.Rules, rbac.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}})
	_, err = access.Roles(space).Update(t.Context(), role, metav1.UpdateOptions{})
	require.NoError(t, err)
	s.eventually(func() bool {
		role, err := access.Roles(space).Get(t.Context(), name, metav1.GetOptions{})
		return err == nil && len(role.Rules) == 1
	}, "c", "the role is as before")
	require.NoError(t, s.admin(0).CoreV1().Namespaces().Delete(t.Context(), space, metav1.DeleteOptions{}))
	s.eventually(func() bool {
		namespace, err := s.admin(0).CoreV1().Namespaces().Get(t.Context(), space, metav1.GetOptions{})
		return err == nil && namespace.DeletionTimestamp == nil && slices.ContainsFunc(s.holdings(0), func(name string) bool { return strings.HasPrefix(name, "rolebindings") })
	}, "c", "the namespace is back, with what was in it")
	s.eventually(func() bool { return s.row("c", 0).GetCode() == "" }, "c", "nothing is told to be wrong in the end")
}

// A state that was restored must not destroy what it does not know yet.
func testLaterState(t *testing.T, s *scene) {
	t.Helper()
	later := certificate.Owner{ClusterID: s.id(), Project: project, Cloud: "later", Generation: 1000}
	p := piece{pieceID: pieceID{clusterRoles, "", later.ObjectName(kindPermission, "p")}, owner: later, rule: rbac.PolicyRule{
		APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"},
	}}
	earlier := p
	earlier.owner.Generation = 0
	earlier.name = earlier.owner.ObjectName(kindPermission, "p")
	c := s.connection(0)
	require.NoError(t, p.apply(t.Context(), c))
	require.NoError(t, earlier.apply(t.Context(), c))
	s.lead(sweeping)
	want := []string{p.String()}
	require.Eventually(t, func() bool { return slices.Equal(s.holdings(0), want) }, patience, 10*glance)
	s.cloud("c", []int{0})
	s.instantiate("c")
	s.awaitUp("c")
	require.Contains(t, s.holdings(0), p.String())
	require.NoError(t, c.rbac.ClusterRoles().Delete(t.Context(), p.name, metav1.DeleteOptions{}))
}
