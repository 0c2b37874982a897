package kubetest

import (
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	authorization "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	access "k8s.io/client-go/kubernetes/typed/authorization/v1"
	rbac "k8s.io/client-go/kubernetes/typed/rbac/v1"
)

// UserKubeconfig makes a user who may do what the rules say, in the whole cluster, and
// nothing else, and returns the path of a kubeconfig like AdminKubeconfig. The rules are
// in force when it returns. A name is for one user.
func (c *Cluster) UserKubeconfig(name string, rules ...rbacv1.PolicyRule) string {
	c.t.Helper()
	client, err := rbac.NewForConfig(c.Admin)
	require.NoError(c.t, err)
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
	_, err = client.ClusterRoles().Create(c.t.Context(), role, createOptions)
	require.NoError(c.t, err)
	c.bind(name, name, name)
	for i := range rules {
		c.awaitRule(name, &rules[i])
	}
	return c.pki.kubeconfig(name, c.pki.config(c.port, name))
}

// mayReview gives a user the role that lets it create token reviews.
func (c *Cluster) mayReview(user string) {
	c.t.Helper()
	c.bind(user+"-reviews", user, "system:auth-delegator")
}

func (c *Cluster) bind(name, user, role string) {
	c.t.Helper()
	client, err := rbac.NewForConfig(c.Admin)
	require.NoError(c.t, err)
	_, err = client.ClusterRoleBindings().Create(c.t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}, createOptions)
	require.NoError(c.t, err)
}

// awaitRule waits until the API server has seen a rule: it does a moment after the
// answer to the request that made it.
func (c *Cluster) awaitRule(user string, rule *rbacv1.PolicyRule) {
	c.t.Helper()
	client, err := access.NewForConfig(c.Admin)
	require.NoError(c.t, err)
	spec := authorization.SubjectAccessReviewSpec{User: user}
	if len(rule.NonResourceURLs) > 0 {
		spec.NonResourceAttributes = &authorization.NonResourceAttributes{Path: rule.NonResourceURLs[0], Verb: rule.Verbs[0]}
	} else {
		spec.ResourceAttributes = resourceOf(rule)
	}
	require.Eventually(c.t, func() bool {
		review, err := client.SubjectAccessReviews().Create(c.t.Context(), &authorization.SubjectAccessReview{Spec: spec}, createOptions)
		return err == nil && review.Status.Allowed
	}, startTimeout, 10*time.Millisecond, "%s may not %v", user, rule)
}

// resourceOf is one thing that a rule allows.
func resourceOf(rule *rbacv1.PolicyRule) *authorization.ResourceAttributes {
	attributes := &authorization.ResourceAttributes{Verb: rule.Verbs[0], Group: rule.APIGroups[0]}
	attributes.Resource, attributes.Subresource, _ = strings.Cut(rule.Resources[0], "/")
	if len(rule.ResourceNames) > 0 {
		attributes.Name = rule.ResourceNames[0]
	}
	return attributes
}
