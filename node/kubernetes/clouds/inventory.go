package clouds

import (
	"context"
	"fmt"

	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/keysteward/keysteward/node/kubernetes/certificate"
)

// page is how many objects are listed at once.
const page = 500

// inventory is what is labelled ours in a cluster.
type inventory struct {
	pieces     map[pieceID]metav1.Object
	requests   []*certificates.CertificateSigningRequest
	namespaces []*core.Namespace
}

// listAll calls list for one page after the other.
func listAll(what string, selector string, list func(metav1.ListOptions) (next string, err error)) error {
	o := metav1.ListOptions{LabelSelector: selector, Limit: page}
	for {
		next, err := list(o)
		if err != nil {
			return fmt.Errorf("list %s: %w", what, err)
		}
		if o.Continue = next; next == "" {
			return nil
		}
	}
}

// look lists everything of ours.
func (c *connection) look(ctx context.Context, clusterID string) (*inventory, error) {
	found := &inventory{pieces: make(map[pieceID]metav1.Object)}
	for _, of := range resources {
		err := listAll(of.Resource, c.selector, func(o metav1.ListOptions) (string, error) { return c.lookAt(ctx, of, o, found) })
		if err != nil {
			return nil, err
		}
	}
	err := listAll("certificate signing requests", c.selector, func(o metav1.ListOptions) (string, error) {
		list, err := c.requests.List(ctx, o)
		if err != nil {
			return "", err //nolint:wrapcheck // listAll does
		}
		for i := range list.Items {
			found.requests = append(found.requests, &list.Items[i])
		}
		return list.Continue, nil
	})
	if err != nil {
		return nil, err
	}
	return found, listAll("namespaces", certificate.LabelClusterID+"="+clusterID, func(o metav1.ListOptions) (string, error) {
		list, err := c.core.Namespaces().List(ctx, o)
		if err != nil {
			return "", err //nolint:wrapcheck // listAll does
		}
		for i := range list.Items {
			found.namespaces = append(found.namespaces, &list.Items[i])
		}
		return list.Continue, nil
	})
}

// lookAt lists a page of one resource.
func (c *connection) lookAt(ctx context.Context, of schema.GroupVersionResource, o metav1.ListOptions, found *inventory) (next string, err error) {
	switch of {
	case clusterRoleBindings:
		list, err := c.rbac.ClusterRoleBindings().List(ctx, o)
		return note(of, list, err, found, func(i int) metav1.Object { return &list.Items[i] }, func() int { return len(list.Items) })
	case roleBindings:
		list, err := c.rbac.RoleBindings("").List(ctx, o)
		return note(of, list, err, found, func(i int) metav1.Object { return &list.Items[i] }, func() int { return len(list.Items) })
	case clusterRoles:
		list, err := c.rbac.ClusterRoles().List(ctx, o)
		return note(of, list, err, found, func(i int) metav1.Object { return &list.Items[i] }, func() int { return len(list.Items) })
	case roles:
		list, err := c.rbac.Roles("").List(ctx, o)
		return note(of, list, err, found, func(i int) metav1.Object { return &list.Items[i] }, func() int { return len(list.Items) })
	default:
		list, err := c.core.ResourceQuotas("").List(ctx, o)
		return note(of, list, err, found, func(i int) metav1.Object { return &list.Items[i] }, func() int { return len(list.Items) })
	}
}

// note puts the objects of a page into the inventory.
func note(of schema.GroupVersionResource, list metav1.ListInterface, err error, found *inventory, item func(int) metav1.Object, n func() int) (string, error) {
	if err != nil {
		return "", err
	}
	for i := range n() {
		o := item(i)
		found.pieces[pieceID{of, o.GetNamespace(), o.GetName()}] = o
	}
	return list.GetContinue(), nil
}
