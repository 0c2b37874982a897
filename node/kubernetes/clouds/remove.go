package clouds

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/failpoint"
	"github.com/keysteward/keysteward/node/kubernetes/certificate"
)

// remove takes away everything that a terminated cloud has in the cluster, of all its
// generations, and proposes that nothing is left.
func (l *lane) remove(ctx context.Context, c *connection) error {
	view, row, cloud, ok := l.now()
	if !ok || !wantsRemoval(row) {
		return nil
	}
	if !l.bare {
		release, err := take(ctx, l.worker.objects)
		if err != nil {
			return err
		}
		err = l.removeAll(ctx, c, view.Meta().GetGeneration())
		release()
		if err != nil {
			return err
		}
		l.bare = true
	}
	if err := l.worker.leaveNamespace(ctx, c, cloud.GetNamespace()); err != nil {
		return err
	}
	if failpoint.Enabled {
		failpoint.Reach(PointCloudRemoved)
	}
	if err := l.conclude(ctx, seen(row, fsmpb.CertificateObservation_KIND_REMOVED, reason{})); err != nil {
		return err
	}
	l.worker.sweepAfterwards()
	l.worker.log.Info("logical cloud is removed from a Kubernetes cluster", l.told()...)
	return nil
}

// removeAll deletes the cloud's objects of generations that were given, and its requests.
func (l *lane) removeAll(ctx context.Context, c *connection, upTo uint64) error {
	err := l.eachPiece(ctx, c, func(id pieceID, found *metav1.PartialObjectMetadata, generation uint64) error {
		if generation > upTo {
			l.worker.log.Warn("an object is left alone: it was made by a later state of this cluster than ours", "object", id.String(), "generation", generation)
			return nil
		}
		return c.deletePiece(ctx, id, found)
	})
	if err != nil {
		return err
	}
	view, row, _, ok := l.now()
	if !ok {
		return nil
	}
	list, err := c.requests.List(ctx, metav1.ListOptions{LabelSelector: c.selector + "," + certificate.LabelCloud + "=" + owner(view, row).CloudID()})
	if err != nil {
		return fmt.Errorf("list certificate signing requests: %w", err)
	}
	for i := range list.Items {
		found := &list.Items[i]
		if generationOf(found) > upTo {
			continue
		}
		if err := c.deletePiece(ctx, pieceID{requestsResource, "", found.Name}, found); err != nil {
			return err
		}
	}
	return nil
}
