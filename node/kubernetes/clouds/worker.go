package clouds

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// How much is asked of one Kubernetes cluster at once.
const (
	requestSlots = 16 // steps of certificates
	objectSlots  = 8  // steps of other objects
)

// worker does what is to be done in one Kubernetes cluster. One that is down delays
// nobody but itself.
type worker struct {
	duty     *Duty
	cfg      *Config
	log      *slog.Logger
	session  Session
	observer *observer
	keys     *keyMaker
	key      clusterKey
	cancel   context.CancelFunc

	wake     chan struct{} // something may have changed
	sweeping chan struct{} // a sweep is due soon
	requests chan struct{} // slots
	objects  chan struct{} // slots

	mu       sync.Mutex
	renewing []rowKey
	lanes    map[laneKey]*lane
	link     link
	inFlight int           // certificates that are likely to come at any moment
	calm     chan struct{} // closed while there are none
	spaces   map[string]*sync.Mutex
	told     map[rowKey]time.Time
	strange  bool              // another Kubernetes may have been met, which rows that are well have to tell too
	drifted  map[rowKey]uint64 // whose plan is applied again, by generation
}

func newWorker(r *run, key clusterKey) *worker {
	calm := make(chan struct{})
	close(calm)
	return &worker{
		duty: r.duty, cfg: &r.duty.cfg, session: r.session, observer: r.observer, keys: r.keys, key: key,
		log:  r.duty.log.With("cluster", key.String()),
		wake: make(chan struct{}, 1), sweeping: make(chan struct{}, 1),
		requests: make(chan struct{}, requestSlots), objects: make(chan struct{}, objectSlots),
		lanes: make(map[laneKey]*lane), link: newLink(), calm: calm,
		spaces: make(map[string]*sync.Mutex), told: make(map[rowKey]time.Time), strange: true, drifted: make(map[rowKey]uint64),
	}
}

// look has the worker read the state again. These rows are to be renewed.
func (w *worker) look(renewing []rowKey) {
	w.mu.Lock()
	w.renewing = renewing
	w.mu.Unlock()
	w.poke()
}

func (w *worker) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) registered() *fsmpb.KubernetesCluster {
	return w.session.View().KubernetesCluster(w.key.provider, w.key.name)
}

// run works until ctx ends and everything that it began has ended.
func (w *worker) run(ctx context.Context) {
	var owned sync.WaitGroup
	defer owned.Wait()
	owned.Go(func() { w.keepConnected(ctx) })
	owned.Go(func() { w.keepTelling(ctx) })
	owned.Go(func() { w.keepSweeping(ctx) })
	for ctx.Err() == nil {
		began := time.Now()
		w.assign(ctx, &owned)
		sleep(ctx, busyShare*time.Since(began), nil)
		select {
		case <-w.wake:
		case <-ctx.Done():
		}
	}
}

// assign sees that each thing that is to be done has its lane, and ends those whose
// purpose is gone, but for those that conclude, which end by themselves.
func (w *worker) assign(ctx context.Context, owned *sync.WaitGroup) {
	view := w.session.View()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.link.check(view.KubernetesCluster(w.key.provider, w.key.name).GetSealed())
	wanted := w.wantedLocked(view)
	for key, l := range w.lanes {
		if !wanted[key] && !l.concludes {
			l.cancel()
		}
	}
	for key := range wanted {
		if w.lanes[key] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		l := &lane{worker: w, key: key, cancel: cancel, began: time.Now()}
		w.lanes[key] = l
		owned.Go(func() {
			defer w.ended(l)
			l.run(ctx)
		})
	}
}

// wantedLocked is what is to be done.
func (w *worker) wantedLocked(view *fsm.View) map[laneKey]bool {
	wanted, now := make(map[laneKey]bool), w.cfg.Now()
	want := func(row *fsmpb.Certificate) {
		cloud := view.Cloud(row.GetProject(), row.GetCloud())
		add := func(kind laneKind) { wanted[laneKey{keyOf(row), kind, row.GetGeneration()}] = true }
		if wantsCertificate(row, cloud, now) {
			add(laneCertificate)
		}
		if wantsObjects(row, cloud) {
			add(laneObjects)
		}
		if wantsRemoval(row) {
			add(laneRemoval)
		}
	}
	for row := range view.OpenCertificates(w.key.provider, w.key.name) {
		want(row)
	}
	for _, key := range w.renewing {
		if row := view.Certificate(key.project, key.cloud, key.reference); row != nil {
			want(row)
		}
	}
	for key, generation := range w.drifted {
		row := view.Certificate(key.project, key.cloud, key.reference)
		if row.GetGeneration() != generation || row.GetRemoving() {
			delete(w.drifted, key)
			continue
		}
		wanted[laneKey{key, laneObjects, generation}] = true
	}
	return wanted
}

// ended forgets a lane, and has looked whether there is more to do.
func (w *worker) ended(l *lane) {
	l.cancel()
	w.mu.Lock()
	delete(w.lanes, l.key)
	w.mu.Unlock()
	w.poke()
}

// hurry counts a certificate that is likely to come at any moment, until it is called
// off. The objects of clouds leave the cluster to those for a while.
func (w *worker) hurry() (off func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inFlight++; w.inFlight == 1 {
		w.calm = make(chan struct{})
	}
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.inFlight--; w.inFlight == 0 {
			close(w.calm)
		}
	})
}

// whenCalm is closed while no certificate is likely to come at any moment.
func (w *worker) whenCalm() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calm
}

// row reads a row and its cloud again.
func (w *worker) row(key rowKey) (*fsm.View, *fsmpb.Certificate, *fsmpb.LogicalCloud) {
	view := w.session.View()
	return view, view.Certificate(key.project, key.cloud, key.reference), view.Cloud(key.project, key.cloud)
}
