package clouds

import (
	"context"
	"fmt"
	"strconv"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/failpoint"
	"github.com/keysteward/keysteward/node/kubernetes/certificate"
	"github.com/keysteward/keysteward/node/tracing"
)

// besides is how long objects leave the cluster to certificates that are likely to
// come at any moment: longer than a few hundred take that were asked for at once.
const besides = 10 * time.Second

// apply brings the plan of a cloud into the cluster, takes away what is of an earlier
// one, and proposes that it is there.
func (l *lane) apply(ctx context.Context, c *connection) error {
	l.giveWay(ctx)
	view, row, cloud, ok := l.now()
	drifted := l.worker.hasDrifted(row)
	if !ok || !fsm.IsUp(cloud) || row.GetRemoving() || !drifted && !wantsObjects(row, cloud) {
		return nil
	}
	list, err := pieces(owner(view, row), cloud)
	if err != nil {
		return err
	}
	applying, span := l.begin(ctx, "objects applied")
	err = l.applyAll(applying, c, list, row, cloud)
	tracing.End(span, err, "not applied")
	if err != nil {
		return err
	}
	if failpoint.Enabled {
		failpoint.Reach(PointObjectsApplied)
	}
	o := seen(row, fsmpb.CertificateObservation_KIND_APPLIED, l.others())
	o.Revision = cloud.GetPlan().GetRevision()
	if err := l.conclude(ctx, o); err != nil {
		return err
	}
	if drifted {
		l.worker.isMended(row)
	}
	l.worker.log.Info("objects of a logical cloud are applied", l.told("objects", len(list), "revision", o.GetRevision())...)
	return nil
}

// applyAll makes the cluster hold the pieces of a cloud and no others.
func (l *lane) applyAll(ctx context.Context, c *connection, list []piece, row *fsmpb.Certificate, cloud *fsmpb.LogicalCloud) error {
	release, err := take(ctx, l.worker.objects)
	if err != nil {
		return err
	}
	defer release()
	if err := l.worker.prepareNamespace(ctx, c, cloud, row.GetGeneration()); err != nil {
		return err
	}
	// One permission whose namespace is missing must not keep the others.
	var errs []error
	for i := range list {
		errs = append(errs, l.worker.applyPiece(ctx, c, &list[i], cloud))
	}
	if err := first(errs); err != nil {
		return err
	}
	l.worker.sweepAfterwards()
	if len(cloud.GetActions()) == 1 { // there was nothing before, or a sweep finds it: a cloud of the name was deleted
		return nil
	}
	return l.clean(ctx, c, list, row.GetGeneration())
}

// giveWay waits while certificates are likely to come at any moment, first of all that
// of the same cloud.
func (l *lane) giveWay(ctx context.Context) {
	ctx, cancel := context.WithDeadline(ctx, l.began.Add(besides))
	defer cancel()
	for ctx.Err() == nil {
		view, row, _, ok := l.now()
		if !ok || row.GetPem() != "" || row.GetCode() != "" {
			break
		}
		view.WatchClouds().Wait(ctx.Done())
	}
	select {
	case <-l.worker.whenCalm():
	case <-ctx.Done():
	}
}

// first is the first of some errors with a reason of its own kind: those that say that
// the whole cluster is away come first.
func first(errs []error) error {
	var found error
	for _, err := range errs {
		if err != nil && (found == nil || explain(err).isAway()) {
			found = err
		}
	}
	return found
}

// applyPiece applies one object, and says more of the errors that have a reason.
func (w *worker) applyPiece(ctx context.Context, c *connection, p *piece, cloud *fsmpb.LogicalCloud) error {
	err := p.apply(ctx, c)
	if apierrors.IsInvalid(err) && p.user != "" { // the role of a binding can not be changed
		if err = c.metadata.Resource(p.resource).Namespace(p.namespace).Delete(ctx, p.name, metav1.DeleteOptions{}); err == nil || apierrors.IsNotFound(err) {
			err = p.apply(ctx, c)
		}
	}
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err) && p.namespace != "" && p.namespace != cloud.GetNamespace():
		return &waiting{reason{CodeNamespaceMissing, "there is no namespace " + p.namespace + ", which a permission is for"}, err}
	case apierrors.IsForbidden(err) && !apierrors.HasStatusCause(err, core.NamespaceTerminatingCause):
		return &waiting{reason{CodeForbidden, "the registered credential may not apply " + p.String() + ": " + explain(err).detail}, err}
	case apierrors.IsInvalid(err) || apierrors.IsBadRequest(err):
		return &waiting{reason{CodeApplyFailed, p.String() + ": " + explain(err).detail}, err}
	}
	return err
}

// clean deletes what the cloud has in the cluster, of this or earlier generations,
// and does not want any more.
func (l *lane) clean(ctx context.Context, c *connection, want []piece, upTo uint64) error {
	wanted := make(map[pieceID]bool)
	for _, p := range want {
		wanted[p.pieceID] = true
	}
	return l.eachPiece(ctx, c, func(id pieceID, found *metav1.PartialObjectMetadata, generation uint64) error {
		if wanted[id] || generation > upTo {
			return nil
		}
		return c.deletePiece(ctx, id, found)
	})
}

// eachPiece goes over what is labelled as the cloud's, bindings first.
func (l *lane) eachPiece(ctx context.Context, c *connection, do func(pieceID, *metav1.PartialObjectMetadata, uint64) error) error {
	view, row, _, ok := l.now()
	if !ok {
		return nil
	}
	selector := c.selector + "," + certificate.LabelCloud + "=" + owner(view, row).CloudID()
	for _, of := range resources {
		list, err := c.metadata.Resource(of).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return fmt.Errorf("list %s: %w", of.Resource, err)
		}
		for i := range list.Items {
			found := &list.Items[i]
			if err := do(pieceID{of, found.Namespace, found.Name}, found, generationOf(found)); err != nil {
				return err
			}
		}
	}
	return nil
}

// generationOf is the generation in the labels of an object; 0 if there is none.
func generationOf(o metav1.Object) uint64 {
	n, _ := strconv.ParseUint(o.GetLabels()[certificate.LabelGeneration], 10, 64)
	return n
}

// deletePiece deletes an object as it was found, and not one that took its place or was
// changed since.
func (c *connection) deletePiece(ctx context.Context, id pieceID, found metav1.Object) error {
	uid, version := found.GetUID(), found.GetResourceVersion()
	err := c.metadata.Resource(id.resource).Namespace(id.namespace).Delete(ctx, id.name, deleteOptions(uid, version))
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s: %w", id, err)
	}
	return nil
}

func deleteOptions(uid types.UID, version string) metav1.DeleteOptions {
	background := metav1.DeletePropagationBackground
	return metav1.DeleteOptions{PropagationPolicy: &background, Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}}
}
