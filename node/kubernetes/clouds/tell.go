package clouds

import (
	"context"
	"time"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

const (
	tellEvery  = 500 * time.Millisecond // looks for reasons that changed
	tellPause  = 3 * time.Second        // between two reasons of one row
	tellBefore = 300 * time.Millisecond // what is over sooner is not told
)

// keepTelling proposes why rows wait, when that changed.
func (w *worker) keepTelling(ctx context.Context) {
	for sleep(ctx, tellEvery, nil) {
		if list := w.untold(); len(list) > 0 {
			if err := w.observer.observe(ctx, list...); err != nil && ctx.Err() == nil {
				w.log.Debug("reasons were not told", "error", err)
			}
		}
	}
}

// untold are the observations of reasons that the state does not know.
func (w *worker) untold() []*fsmpb.CertificateObservation {
	view, now := w.session.View(), time.Now()
	var list []*fsmpb.CertificateObservation
	w.mu.Lock()
	defer w.mu.Unlock()
	for key := range w.told {
		if now.Sub(w.told[key]) > tellPause {
			delete(w.told, key)
		}
	}
	done := make(map[rowKey]bool)
	add := func(row *fsmpb.Certificate) {
		key := keyOf(row)
		if done[key] || len(list) == maxObservations {
			return
		}
		done[key] = true
		if _, lately := w.told[key]; lately {
			return
		}
		cloud := view.Cloud(row.GetProject(), row.GetCloud())
		kind, why, settled := w.whyLocked(row, cloud, now)
		if settled && (why.code != row.GetCode() || why.detail != row.GetDetail()) {
			w.told[key] = now
			list = append(list, seen(row, kind, why))
			if why.code != "" && why.code != row.GetCode() {
				w.log.Warn("a logical cloud waits", "certificate", key.String(), "code", why.code, "reason", why.detail)
			}
		}
	}
	for row := range view.OpenCertificates(w.key.provider, w.key.name) {
		add(row)
	}
	w.strangersLocked(view, add)
	for key := range w.lanes {
		if row := view.Certificate(key.project, key.cloud, key.reference); row != nil {
			add(row)
		}
	}
	return list
}

// strangersLocked adds the rows that are well but for another Kubernetes having been
// met, which they have to tell, or have told.
func (w *worker) strangersLocked(view *fsm.View, add func(*fsmpb.Certificate)) {
	if !w.strange {
		return
	}
	is := w.link.away.code == CodeOtherCluster
	w.strange = is || !w.link.ready
	for row := range view.CertificatesOn(w.key.provider, w.key.name) {
		if is || row.GetCode() == CodeOtherCluster {
			w.strange = true
			add(row)
		}
	}
}

// whyLocked is why a row waits, and whether that can be said yet.
func (w *worker) whyLocked(row *fsmpb.Certificate, cloud *fsmpb.LogicalCloud, now time.Time) (kind fsmpb.CertificateObservation_Kind, why reason, settled bool) {
	kind = fsmpb.CertificateObservation_KIND_WAITING
	why, began := w.lanesOf(row, now)
	if w.link.away.code != "" {
		why = w.link.away
	}
	switch noKey := w.keys.reason(wishOf(cloud)); {
	case row.GetRemoving() && why.code != "" && (row.GetCode() == CodeStuck || now.Sub(began) > w.cfg.StuckAfter):
		return fsmpb.CertificateObservation_KIND_STUCK, stuck(why), true
	case !row.GetRemoving() && noKey.code != "":
		why = noKey
	}
	return kind, why, why.code != "" || now.Sub(began) > tellBefore || w.link.ready && row.GetCode() == CodeOtherCluster
}

// lanesOf is the first reason of the lanes of a row, and when the first of them began.
func (w *worker) lanesOf(row *fsmpb.Certificate, now time.Time) (why reason, began time.Time) {
	began = now
	for _, kind := range []laneKind{laneRemoval, laneCertificate, laneObjects} {
		l := w.lanes[laneKey{keyOf(row), kind, row.GetGeneration()}]
		if l == nil {
			continue
		}
		if l.began.Before(began) {
			began = l.began
		}
		if why.code == "" {
			why = l.reason
		}
	}
	return why, began
}

// stuck is the reason of a removal that has been tried for long.
func stuck(why reason) reason { return reason{CodeStuck, why.code + ": " + why.detail} }

// others is the reason of the row's other lanes.
func (l *lane) others() reason {
	w := l.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, kind := range []laneKind{laneCertificate, laneObjects} {
		if o := w.lanes[laneKey{l.key.rowKey, kind, l.key.generation}]; o != nil && o != l && o.reason.code != "" {
			return o.reason
		}
	}
	return reason{}
}
