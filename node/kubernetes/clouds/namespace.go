package clouds

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"sync"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/certificate"
)

// annotationCreatedBy is the cluster ID of who created a namespace. Only such a
// namespace is ever deleted; none gets the annotation later.
const annotationCreatedBy = "keysteward.io/created-by"

// lockSpace lets one at a time decide about a namespace.
func (w *worker) lockSpace(name string) (unlock func()) {
	w.mu.Lock()
	space := w.spaces[name]
	if space == nil {
		space = new(sync.Mutex)
		w.spaces[name] = space
	}
	w.mu.Unlock()
	space.Lock()
	return space.Unlock
}

// tenants are the labels that all clouds which are to be in a namespace of the
// cluster want it to have, and whether there may be any such cloud.
func (w *worker) tenants(view *fsm.View, namespace string) (labels map[string]string, used bool) {
	labels = make(map[string]string)
	w.rowsOfKin(view, func(row *fsmpb.Certificate, k kinship) {
		cloud := view.Cloud(row.GetProject(), row.GetCloud())
		if row.GetRemoving() || cloud.GetNamespace() != namespace || !fsm.IsUp(cloud) {
			return
		}
		if used = true; k == same {
			maps.Copy(labels, cloud.GetLabels())
		}
	})
	return labels, used
}

// prepareNamespace sees that the namespace of a cloud is there, with the labels of
// all clouds in it.
func (w *worker) prepareNamespace(ctx context.Context, c *connection, cloud *fsmpb.LogicalCloud, generation uint64) error {
	name := cloud.GetNamespace()
	defer w.lockSpace(name)()
	view := w.session.View()
	id := view.Meta().GetClusterId()
	_, err := c.core.Namespaces().Create(ctx, &core.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name,
		Labels: map[string]string{
			certificate.LabelManagedBy: certificate.ManagedBy, certificate.LabelClusterID: id,
			certificate.LabelGeneration: strconv.FormatUint(generation, 10),
		},
		Annotations: map[string]string{annotationCreatedBy: id},
	}}, metav1.CreateOptions{FieldManager: certificate.FieldManager})
	switch {
	case apierrors.IsAlreadyExists(err):
		if err := c.ofNobodyElse(ctx, name, id); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("create namespace %s: %w", name, err)
	}
	labels, _ := w.tenants(view, name)
	if err == nil && len(labels) == 0 {
		return nil
	}
	return c.labelNamespace(ctx, name, id, labels)
}

// labelNamespace applies our labels to a namespace, and takes those away that we
// applied earlier. It does not say that we manage it, as somebody else may.
func (c *connection) labelNamespace(ctx context.Context, name, id string, labels map[string]string) error {
	all := maps.Clone(labels)
	all[certificate.LabelClusterID] = id
	options := applyOptions
	options.Force = false // what others have set there is theirs, if the namespace is
	done, err := c.core.Namespaces().Apply(ctx, coreapply.Namespace(name).WithLabels(all), options)
	if apierrors.IsConflict(err) {
		if err = c.mayForce(ctx, name, id, err); err == nil {
			done, err = c.core.Namespaces().Apply(ctx, coreapply.Namespace(name).WithLabels(all), applyOptions)
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("apply namespace %s: %w", name, err)
	case done.DeletionTimestamp != nil:
		return terminating(name)
	}
	return nil
}

// ofNobodyElse is an error if another Keysteward has clouds in a namespace that is
// there: they would take each other's labels away, and one of them the namespace.
func (c *connection) ofNobodyElse(ctx context.Context, name, id string) error {
	found, err := c.core.Namespaces().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("get namespace %s: %w", name, err)
	}
	if by := found.Labels[certificate.LabelClusterID]; by != "" && by != id {
		return waitFor(CodeLabelTaken, "namespace %s is in use by another Keysteward cluster, %s: terminate its cloud there, or take another namespace", name, by)
	}
	return nil
}

// mayForce is nil if a namespace was made by us, so that its labels are ours to say;
// else why not.
func (c *connection) mayForce(ctx context.Context, name, id string, conflict error) error {
	found, err := c.core.Namespaces().Get(ctx, name, metav1.GetOptions{})
	switch {
	case err != nil:
		return err //nolint:wrapcheck // the caller names it
	case found.Annotations[annotationCreatedBy] != id:
		return &waiting{reason{CodeLabelTaken, "namespace " + name + " was there before, and somebody else has set a label of it that the cloud wants to be different: " + explain(conflict).detail}, conflict}
	}
	return nil
}

// inUseByOthers reports whether another Keysteward has something in a namespace.
func (c *connection) inUseByOthers(ctx context.Context, found *core.Namespace, id string) (bool, error) {
	if by := found.Labels[certificate.LabelClusterID]; by != "" && by != id {
		return true, nil
	}
	others := certificate.LabelManagedBy + "=" + certificate.ManagedBy + "," + certificate.LabelClusterID + "!=" + id
	list, err := c.rbac.RoleBindings(found.Name).List(ctx, metav1.ListOptions{LabelSelector: others, Limit: 1})
	if err != nil {
		return false, fmt.Errorf("list role bindings of namespace %s: %w", found.Name, err)
	}
	return len(list.Items) > 0, nil
}

func terminating(name string) error {
	return waitFor(CodeNamespaceTerminating, "the namespace %s is being deleted, which Kubernetes has not ended yet", name)
}

// leaveNamespace deletes the namespace of a cloud if we made it and no other cloud is
// to be in it; else it takes away the labels that nobody wants any more. It returns nil
// when that is done: a namespace that is being deleted is not gone yet.
func (w *worker) leaveNamespace(ctx context.Context, c *connection, name string) error {
	defer w.lockSpace(name)()
	found, err := c.core.Namespaces().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get namespace %s: %w", name, err)
	}
	view := w.session.View()
	id := view.Meta().GetClusterId()
	labels, used := w.tenants(view, name)
	switch {
	case used:
		return c.labelNamespace(ctx, name, id, labels)
	case found.Annotations[annotationCreatedBy] != id:
		return c.unlabelNamespace(ctx, found, id)
	case generationOf(found) > view.Meta().GetGeneration():
		w.log.Warn("a namespace is left alone: it was made by a later state of this cluster than ours", "namespace", name)
		return nil
	case found.DeletionTimestamp != nil:
		return terminating(name)
	}
	if others, err := c.inUseByOthers(ctx, found, id); err != nil || others {
		if others {
			w.log.Warn("a namespace that was made for logical clouds stays: another Keysteward has clouds in it", "namespace", name)
		}
		return err
	}
	if err := c.core.Namespaces().Delete(ctx, name, deleteOptions(found.UID, found.ResourceVersion)); err != nil {
		return fmt.Errorf("delete namespace %s: %w", name, err)
	}
	w.log.Info("namespace that was made for logical clouds is deleted", "namespace", name)
	return terminating(name)
}

// unlabelNamespace takes our labels from a namespace that we did not make.
func (c *connection) unlabelNamespace(ctx context.Context, found *core.Namespace, id string) error {
	if found.Labels[certificate.LabelClusterID] != id {
		return nil
	}
	_, err := c.core.Namespaces().Apply(ctx, coreapply.Namespace(found.Name).WithUID(found.UID), applyOptions)
	if err != nil {
		return fmt.Errorf("take labels from namespace %s: %w", found.Name, err)
	}
	return nil
}
