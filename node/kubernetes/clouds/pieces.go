package clouds

import (
	"context"
	"fmt"
	"maps"
	"slices"

	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	rbacapply "k8s.io/client-go/applyconfigurations/rbac/v1"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/certificate"
)

// Kinds in the names of objects.
const (
	kindPermission = "permission"
	kindQuota      = "quota"
)

// Resources of what clouds have in their clusters. What gives access is first: so it
// is taken away, too.
var (
	clusterRoleBindings = rbac.SchemeGroupVersion.WithResource("clusterrolebindings")
	roleBindings        = rbac.SchemeGroupVersion.WithResource("rolebindings")
	clusterRoles        = rbac.SchemeGroupVersion.WithResource("clusterroles")
	roles               = rbac.SchemeGroupVersion.WithResource("roles")
	quotas              = core.SchemeGroupVersion.WithResource("resourcequotas")
	requestsResource    = certificates.SchemeGroupVersion.WithResource("certificatesigningrequests")
	resources           = []schema.GroupVersionResource{clusterRoleBindings, roleBindings, clusterRoles, roles, quotas}
)

// pieceID names an object in a cluster.
type pieceID struct {
	resource        schema.GroupVersionResource
	namespace, name string
}

func (p pieceID) String() string {
	if p.namespace == "" {
		return p.resource.Resource + " " + p.name
	}
	return p.resource.Resource + " " + p.namespace + "/" + p.name
}

// piece is an object that a cloud has in a cluster, besides its namespace.
type piece struct {
	pieceID
	owner certificate.Owner
	rule  rbac.PolicyRule   // of roles
	user  string            // of bindings
	hard  core.ResourceList // of quotas
}

// pieces are what the plan of a cloud wants in a cluster. Quotas come first, then
// roles, then bindings, so that nobody may do anything before it is bounded.
func pieces(who certificate.Owner, cloud *fsmpb.LogicalCloud) ([]piece, error) {
	var list, bindings []piece
	for _, q := range cloud.GetPlan().GetQuotas() {
		hard := core.ResourceList{}
		for name, text := range q.GetHard() {
			amount, err := resource.ParseQuantity(text)
			if err != nil {
				return nil, waitFor(CodeApplyFailed, "quota %s: %s is %.64q, which is no quantity", q.GetMetadata().GetName(), name, text)
			}
			hard[core.ResourceName(name)] = amount
		}
		id := pieceID{quotas, cloud.GetNamespace(), who.ObjectName(kindQuota, q.GetMetadata().GetName())}
		list = append(list, piece{pieceID: id, owner: who, hard: hard})
	}
	for _, p := range cloud.GetPlan().GetPermissions() {
		rule := rbac.PolicyRule{APIGroups: p.GetApiGroups(), Resources: p.GetResources(), Verbs: p.GetVerbs()}
		if len(rule.APIGroups) == 0 {
			rule.APIGroups = []string{core.GroupName}
		}
		role, binding := roles, roleBindings
		if p.GetNamespace() == "" {
			role, binding = clusterRoles, clusterRoleBindings
		}
		name := who.ObjectName(kindPermission, p.GetMetadata().GetName())
		list = append(list, piece{pieceID: pieceID{role, p.GetNamespace(), name}, owner: who, rule: rule})
		bindings = append(bindings, piece{pieceID: pieceID{binding, p.GetNamespace(), name}, owner: who, user: who.CommonName(cloud.GetUser())})
	}
	return append(list, bindings...), nil
}

var applyOptions = metav1.ApplyOptions{FieldManager: certificate.FieldManager, Force: true}

// apply applies the object as it is to be.
func (p *piece) apply(ctx context.Context, c *connection) error {
	var err error
	labels, notes := p.owner.Labels(), p.owner.Annotations()
	rule := rbacapply.PolicyRule().WithAPIGroups(p.rule.APIGroups...).WithResources(p.rule.Resources...).WithVerbs(p.rule.Verbs...)
	user := rbacapply.Subject().WithKind(rbac.UserKind).WithAPIGroup(rbac.GroupName).WithName(p.user)
	of := func(kind string) *rbacapply.RoleRefApplyConfiguration {
		return rbacapply.RoleRef().WithAPIGroup(rbac.GroupName).WithKind(kind).WithName(p.name)
	}
	switch p.resource {
	case quotas:
		_, err = c.core.ResourceQuotas(p.namespace).Apply(ctx, coreapply.ResourceQuota(p.name, p.namespace).
			WithLabels(labels).WithAnnotations(notes).WithSpec(coreapply.ResourceQuotaSpec().WithHard(p.hard)), applyOptions)
	case roles:
		_, err = c.rbac.Roles(p.namespace).Apply(ctx, rbacapply.Role(p.name, p.namespace).
			WithLabels(labels).WithAnnotations(notes).WithRules(rule), applyOptions)
	case clusterRoles:
		_, err = c.rbac.ClusterRoles().Apply(ctx, rbacapply.ClusterRole(p.name).
			WithLabels(labels).WithAnnotations(notes).WithRules(rule), applyOptions)
	case roleBindings:
		_, err = c.rbac.RoleBindings(p.namespace).Apply(ctx, rbacapply.RoleBinding(p.name, p.namespace).
			WithLabels(labels).WithAnnotations(notes).WithSubjects(user).WithRoleRef(of("Role")), applyOptions)
	case clusterRoleBindings:
		_, err = c.rbac.ClusterRoleBindings().Apply(ctx, rbacapply.ClusterRoleBinding(p.name).
			WithLabels(labels).WithAnnotations(notes).WithSubjects(user).WithRoleRef(of("ClusterRole")), applyOptions)
	}
	if err != nil {
		return fmt.Errorf("apply %s: %w", p.pieceID, err)
	}
	return nil
}

// is reports whether an object in the cluster is as it is to be.
func (p *piece) is(found metav1.Object) bool {
	have := found.GetLabels()
	for key, value := range p.owner.Labels() {
		if have[key] != value {
			return false
		}
	}
	switch o := found.(type) {
	case *core.ResourceQuota:
		return maps.EqualFunc(o.Spec.Hard, p.hard, func(a, b resource.Quantity) bool { return a.Cmp(b) == 0 })
	case *rbac.Role:
		return p.isRule(o.Rules)
	case *rbac.ClusterRole:
		return p.isRule(o.Rules) && o.AggregationRule == nil
	case *rbac.RoleBinding:
		return p.isUser(o.Subjects) && o.RoleRef == p.roleRef("Role")
	case *rbac.ClusterRoleBinding:
		return p.isUser(o.Subjects) && o.RoleRef == p.roleRef("ClusterRole")
	}
	return false
}

func (p *piece) isRule(have []rbac.PolicyRule) bool {
	return len(have) == 1 && slices.Equal(have[0].APIGroups, p.rule.APIGroups) && slices.Equal(have[0].Resources, p.rule.Resources) &&
		slices.Equal(have[0].Verbs, p.rule.Verbs) && len(have[0].ResourceNames) == 0 && len(have[0].NonResourceURLs) == 0
}

// roleRef is the role of a binding, which has its name.
func (p *piece) roleRef(kind string) rbac.RoleRef {
	return rbac.RoleRef{APIGroup: rbac.GroupName, Kind: kind, Name: p.name}
}

func (p *piece) isUser(have []rbac.Subject) bool {
	return len(have) == 1 && have[0].Kind == rbac.UserKind && have[0].Name == p.user
}
