package clouds

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/certificate"
)

func planned(permissions []*fsmpb.UserPermission, hard map[string]string) *fsmpb.LogicalCloud {
	return &fsmpb.LogicalCloud{Namespace: "ns", User: "user", Plan: &fsmpb.CloudPlan{
		Permissions: permissions, Quotas: []*fsmpb.ClusterQuota{{Metadata: named("q"), Hard: hard}},
	}}
}

func TestPieces(t *testing.T) {
	t.Parallel()
	who := certificate.Owner{ClusterID: "id", Project: "p", Cloud: "c", Generation: 7}
	list, err := pieces(who, planned([]*fsmpb.UserPermission{
		{Metadata: named("here"), Namespace: "ns", Resources: []string{"pods"}, Verbs: []string{"get"}},
		{Metadata: named("wide"), ApiGroups: []string{"apps"}, Resources: []string{"*"}, Verbs: []string{"*"}},
	}, map[string]string{"limits.cpu": "4"}))
	require.NoError(t, err)
	var kinds []string
	names := make(map[pieceID]bool)
	for _, p := range list {
		kinds = append(kinds, p.resource.Resource)
		names[p.pieceID] = true
	}
	require.Equal(t, []string{"resourcequotas", "roles", "clusterroles", "rolebindings", "clusterrolebindings"}, kinds, "bindings come last")
	require.Len(t, names, 5)
	require.Equal(t, []string{""}, list[1].rule.APIGroups, "no group is the core group")
	require.Empty(t, list[2].namespace)
	require.Equal(t, who.CommonName("user"), list[3].user)

	_, err = pieces(who, planned(nil, map[string]string{"pods": "many"}))
	require.Equal(t, CodeApplyFailed, explain(err).code)
}

// An object that others changed is not as it is to be.
func TestIs(t *testing.T) {
	t.Parallel()
	who := certificate.Owner{ClusterID: "id", Project: "p", Cloud: "c", Generation: 7}
	list, err := pieces(who, planned([]*fsmpb.UserPermission{
		{Metadata: named("here"), Namespace: "ns", Resources: []string{"pods"}, Verbs: []string{"get"}},
	}, map[string]string{"limits.cpu": "4"}))
	require.NoError(t, err)
	quota, role, binding := list[0], list[1], list[2]
	meta := metav1.ObjectMeta{Labels: who.Labels()}
	user := rbac.Subject{Kind: rbac.UserKind, Name: binding.user}
	require.True(t, quota.is(&core.ResourceQuota{ObjectMeta: meta, Spec: core.ResourceQuotaSpec{Hard: quota.hard}}))
	require.True(t, role.is(&rbac.Role{ObjectMeta: meta, Rules: []rbac.PolicyRule{role.rule}}))
	ref := binding.roleRef("Role")
	require.True(t, binding.is(&rbac.RoleBinding{ObjectMeta: meta, Subjects: []rbac.Subject{user}, RoleRef: ref}))
	more := role.rule
	more.Verbs = []string{"get", "delete"}
	for name, is := range map[string]bool{
		"labels":        role.is(&rbac.Role{Rules: []rbac.PolicyRule{role.rule}}),
		"hard":          quota.is(&core.ResourceQuota{ObjectMeta: meta}),
		"verbs":         role.is(&rbac.Role{ObjectMeta: meta, Rules: []rbac.PolicyRule{more}}),
		"another rule":  role.is(&rbac.Role{ObjectMeta: meta, Rules: []rbac.PolicyRule{role.rule, more}}),
		"other subject": binding.is(&rbac.RoleBinding{ObjectMeta: meta, Subjects: []rbac.Subject{{Kind: rbac.UserKind, Name: "x"}}, RoleRef: ref}),
		"group":         binding.is(&rbac.RoleBinding{ObjectMeta: meta, Subjects: []rbac.Subject{{Kind: rbac.GroupKind, Name: binding.user}}, RoleRef: ref}),
		"other role":    binding.is(&rbac.RoleBinding{ObjectMeta: meta, Subjects: []rbac.Subject{user}, RoleRef: binding.roleRef("ClusterRole")}),
		"other kind":    binding.is(&core.Pod{ObjectMeta: meta}),
	} {
		require.False(t, is, name)
	}
}

func TestPauseAfter(t *testing.T) {
	t.Parallel()
	c := &Config{RetryMin: 500 * time.Millisecond, RetryMax: time.Minute}
	for failures, most := range map[int]time.Duration{1: 500 * time.Millisecond, 2: time.Second, 7: 32 * time.Second, 8: time.Minute, 1000: time.Minute} {
		for range 20 {
			pause := c.pauseAfter(failures)
			require.GreaterOrEqual(t, pause, most/2, failures)
			require.LessOrEqual(t, pause, most, failures)
		}
	}
}

// Whoever waits for a request is woken by whatever happens to it.
func TestSightings(t *testing.T) {
	t.Parallel()
	s := newSightings()
	one := &certificates.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "one"}}
	two := &certificates.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "two"}}
	changed, stop := s.subscribe("one")
	woken := func() bool {
		select {
		case <-changed:
			return true
		default:
			return false
		}
	}
	require.NoError(t, s.Add(two))
	require.False(t, woken())
	require.NoError(t, s.Add(one))
	require.NoError(t, s.Update(one))
	require.True(t, woken())
	require.False(t, woken(), "twice is as good as once")
	require.Same(t, one, s.get("one"))
	require.NoError(t, s.Replace([]any{two}, "9"))
	require.True(t, woken())
	require.Nil(t, s.get("one"))
	require.NoError(t, s.Delete(one))
	require.True(t, woken())
	require.NoError(t, s.Resync())
	require.True(t, woken())
	require.Error(t, s.Add(&core.Pod{}))
	require.Error(t, s.Delete(&core.Pod{}))
	require.Error(t, s.Replace([]any{&core.Pod{}}, "10"))
	_, stopSecond := s.subscribe("one")
	stop()
	require.Len(t, s.waiters, 1, "the first may not end the second's")
	stopSecond()
	require.Empty(t, s.waiters)
}

func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := New(Config{})
	require.ErrorIs(t, err, ErrConfig)
	cfg, err := Config{Secrets: NewSecrets(nil, nil)}.complete()
	require.NoError(t, err)
	require.Equal(t, 5*time.Minute, cfg.SweepEvery)
	require.Equal(t, time.Minute, cfg.StuckAfter)
}
