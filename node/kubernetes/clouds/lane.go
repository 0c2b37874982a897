package clouds

import (
	"context"
	"time"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// laneKind says what a lane does.
type laneKind string

const (
	laneCertificate laneKind = "certificate"
	laneObjects     laneKind = "objects"
	laneRemoval     laneKind = "removal"
)

// laneKey names a lane: there is one at a time.
type laneKey struct {
	rowKey
	kind       laneKind
	generation uint64
}

// lane does one thing for one generation of one cloud in one cluster: it tries until
// that is done, with pauses between.
type lane struct {
	worker *worker
	key    laneKey
	cancel context.CancelFunc
	began  time.Time
	bare   bool // of a removal: all but the namespace is gone

	// Guarded by the worker's mutex.
	reason    reason // why it waits
	concludes bool   // what it did is being decided
}

// run tries until there is nothing left to do or ctx ends.
func (l *lane) run(ctx context.Context) {
	w := l.worker
	try := map[laneKind]func(context.Context, *connection) error{
		laneCertificate: l.certify, laneObjects: l.apply, laneRemoval: l.remove,
	}[l.key.kind]
	for failures := 1; ctx.Err() == nil; failures++ {
		c, err := w.connected(ctx)
		if err != nil {
			return
		}
		called := w.called()
		with, done := context.WithCancel(ctx)
		stop := context.AfterFunc(c.life, done) //nolint:contextcheck // it ends with either
		err = try(with, c)
		stop()
		done()
		switch {
		case ctx.Err() != nil, err == nil && !l.needed():
			return
		case c.life.Err() != nil: // another kubeconfig was registered meanwhile
			failures = 0
			continue
		}
		if err != nil {
			l.because(explain(err))
			w.log.Debug("step of a logical cloud failed", l.told("lane", l.key.kind, "error", err)...)
		}
		if explain(err).code == CodeNamespaceTerminating {
			failures = min(failures, 2) // Kubernetes is at it
		}
		if !sleep(ctx, w.cfg.pauseAfter(failures), called) {
			failures = 0
		}
	}
}

// because sets why the lane waits.
func (l *lane) because(r reason) {
	l.worker.mu.Lock()
	defer l.worker.mu.Unlock()
	l.reason = r
}

// conclude has what the lane did decided. Once it is, nothing is left for the lane to do,
// and it would be called off before it has told what it did: it is not, until then.
func (l *lane) conclude(ctx context.Context, o *fsmpb.CertificateObservation) error {
	concludes := func(yes bool) {
		l.worker.mu.Lock()
		defer l.worker.mu.Unlock()
		l.concludes = yes
	}
	concludes(true)
	defer concludes(false)
	return l.worker.observer.observe(ctx, o)
}

// now reads the row again; ok is false if it is of another generation.
func (l *lane) now() (view *fsm.View, row *fsmpb.Certificate, cloud *fsmpb.LogicalCloud, ok bool) {
	view, row, cloud = l.worker.row(l.key.rowKey)
	return view, row, cloud, row != nil && cloud != nil && row.GetGeneration() == l.key.generation
}

// needed reports whether there is still something to do for the lane.
func (l *lane) needed() bool {
	_, row, cloud, ok := l.now()
	if !ok {
		return false
	}
	switch l.key.kind {
	case laneCertificate:
		return wantsCertificate(row, cloud, l.worker.cfg.Now())
	case laneObjects:
		return wantsObjects(row, cloud) || l.worker.hasDrifted(row)
	case laneRemoval:
		return wantsRemoval(row)
	}
	return false
}
