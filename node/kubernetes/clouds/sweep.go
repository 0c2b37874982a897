package clouds

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/certificate"
)

const (
	// sweepSoon is the part of the time between sweeps after which one is made when a
	// session begins or a cloud was changed or removed.
	sweepSoon = 30
	// requestsStay is how long a request that has come to its end stays for people to
	// look at.
	requestsStay = 5 * time.Minute
)

// sweepAfterwards has a sweep made soon.
func (w *worker) sweepAfterwards() {
	select {
	case w.sweeping <- struct{}{}:
	default:
	}
}

// keepSweeping looks from time to time for what does not belong in the cluster: what a
// leader that slept has applied late, what was changed or deleted by others.
func (w *worker) keepSweeping(ctx context.Context) {
	every := w.cfg.SweepEvery
	sleep(ctx, every/sweepSoon, nil)
	for ctx.Err() == nil {
		c, err := w.connected(ctx)
		if err != nil {
			return
		}
		result := "done"
		if err := w.sweep(ctx, c); err != nil && ctx.Err() == nil {
			result = "cut-off"
			w.log.Warn("a sweep was cut off", "error", err)
		}
		w.duty.metrics.sweeps.WithLabelValues(result).Inc()
		if !sleep(ctx, every*3/4+rand.N(every/2+1), w.sweeping) { //nolint:gosec // no secret
			sleep(ctx, every/sweepSoon, nil)
		}
	}
}

// sweep deletes what nobody wants, and has that applied again which is not as wanted.
// The state is read after the cluster, so that what it wants newly is not taken for
// something old.
func (w *worker) sweep(ctx context.Context, c *connection) error {
	id := w.session.View().Meta().GetClusterId()
	found, err := c.look(ctx, id)
	if err != nil {
		return err
	}
	view := w.session.View()
	s := &sweep{
		worker: w, c: c, upTo: view.Meta().GetGeneration(), pieces: make(map[pieceID]piece), rows: make(map[pieceID]*fsmpb.Certificate),
		requests: make(map[string]bool), live: make(map[string]bool), spaces: make(map[string]bool),
	}
	for row := range view.CertificatesOn(w.key.provider, w.key.name) {
		s.want(view, row)
	}
	s.drift(found)
	return errors.Join(s.deletePieces(ctx, found), s.deleteRequests(ctx, found), s.leaveNamespaces(ctx, found))
}

// sweep is what is wanted in a cluster.
type sweep struct {
	worker   *worker
	c        *connection
	upTo     uint64 // generation
	pieces   map[pieceID]piece
	rows     map[pieceID]*fsmpb.Certificate // whose pieces they are
	requests map[string]bool                // that a certificate waits for
	live     map[string]bool                // clouds with generation
	spaces   map[string]bool                // namespaces that are in use, or are being left
}

func cloudOf(cloudID string, generation uint64) string { return fmt.Sprint(cloudID, " ", generation) }

func (s *sweep) want(view *fsm.View, row *fsmpb.Certificate) {
	cloud := view.Cloud(row.GetProject(), row.GetCloud())
	if wantsRemoval(row) {
		s.spaces[cloud.GetNamespace()] = true
	}
	if row.GetRemoving() || !fsm.IsUp(cloud) || cloud.GetGeneration() != row.GetGeneration() {
		return
	}
	who := owner(view, row)
	s.spaces[cloud.GetNamespace()] = true
	s.live[cloudOf(who.CloudID(), row.GetGeneration())] = true
	if row.GetState() == fsmpb.CertificateState_CERTIFICATE_STATE_REQUESTED || row.GetState() == fsmpb.CertificateState_CERTIFICATE_STATE_APPROVED {
		s.requests[row.GetRequestName()] = true
	}
	list, err := pieces(who, cloud)
	if err != nil {
		return // nothing of such a plan was applied
	}
	for _, p := range list {
		s.pieces[p.pieceID], s.rows[p.pieceID] = p, row
	}
}

// drift has plans applied again of which something is missing or not as it was applied.
func (s *sweep) drift(found *inventory) {
	for id, p := range s.pieces {
		row := s.rows[id]
		if row.GetApplied() < row.GetWanted() {
			continue // a lane is at it
		}
		if o := found.pieces[id]; o == nil || !p.is(o) {
			s.worker.log.Warn("an object of a logical cloud is missing or was changed, and is applied again", "object", id.String(), "certificate", keyOf(row).String(), "missing", o == nil)
			s.worker.duty.metrics.swept.WithLabelValues("applied-again").Inc()
			s.worker.applyAgain(row)
		}
	}
}

// applyAgain has the plan of a row applied though it was.
func (w *worker) applyAgain(row *fsmpb.Certificate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drifted[keyOf(row)] = row.GetGeneration()
	w.poke()
}

// hasDrifted reports whether the plan of a row is to be applied again.
func (w *worker) hasDrifted(row *fsmpb.Certificate) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	generation, drifted := w.drifted[keyOf(row)]
	return drifted && generation == row.GetGeneration()
}

// isMended notes that it was.
func (w *worker) isMended(row *fsmpb.Certificate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.drifted, keyOf(row))
}

// isLater reports whether an object is of a generation that was not given yet: this
// state was restored, and the object may be in use.
func (s *sweep) isLater(id pieceID, o metav1.Object) bool {
	if generationOf(o) <= s.upTo {
		return false
	}
	s.worker.log.Warn("an object is left alone: it was made by a later state of this cluster than ours", "object", id.String(), "generation", generationOf(o))
	s.worker.duty.metrics.swept.WithLabelValues("left-alone").Inc()
	return true
}

// delete deletes an object unless it is of a later state or was changed meanwhile.
func (s *sweep) delete(ctx context.Context, id pieceID, o metav1.Object) error {
	if s.isLater(id, o) {
		return nil
	}
	err := s.c.deletePiece(ctx, id, o)
	if apierrors.IsConflict(err) {
		s.worker.sweepAfterwards()
		return nil
	}
	if err == nil {
		s.worker.log.Info("an object that no logical cloud wants is deleted", "object", id.String(), "generation", generationOf(o))
		s.worker.duty.metrics.swept.WithLabelValues("deleted").Inc()
	}
	return err
}

func (s *sweep) deletePieces(ctx context.Context, found *inventory) error {
	var errs []error
	for _, of := range resources { // in their order
		for id, o := range found.pieces {
			if _, wanted := s.pieces[id]; !wanted && id.resource == of {
				errs = append(errs, s.delete(ctx, id, o))
			}
		}
	}
	return first(errs)
}

// deleteRequests deletes those that nobody waits for: at once where the generation is
// over, else when they are some minutes old.
func (s *sweep) deleteRequests(ctx context.Context, found *inventory) error {
	var errs []error
	for _, r := range found.requests {
		live := s.live[cloudOf(r.Labels[certificate.LabelCloud], generationOf(r))]
		if s.requests[r.Name] || live && time.Since(r.CreationTimestamp.Time) < requestsStay {
			continue
		}
		errs = append(errs, s.delete(ctx, pieceID{requestsResource, "", r.Name}, r))
	}
	return first(errs)
}

// leaveNamespaces leaves those that no cloud is in.
func (s *sweep) leaveNamespaces(ctx context.Context, found *inventory) error {
	var errs []error
	for _, n := range found.namespaces {
		if s.spaces[n.Name] || n.DeletionTimestamp != nil {
			continue
		}
		if err := s.worker.leaveNamespace(ctx, s.c, n.Name); err != nil && explain(err).code != CodeNamespaceTerminating {
			errs = append(errs, err)
		}
	}
	return first(errs)
}
