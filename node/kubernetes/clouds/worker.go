package clouds

import (
	"bytes"
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
		spaces: make(map[string]*sync.Mutex), told: make(map[rowKey]time.Time), drifted: make(map[rowKey]uint64),
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

// nudge ends all pauses.
func (w *worker) nudge() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.link.conn == nil || w.link.away.code != "" {
		w.link.reopen()
	}
	w.link.call()
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
		sleep(ctx, restAfter(time.Since(began)), nil)
		select {
		case <-w.wake:
		case <-ctx.Done():
		}
	}
}

// assign sees that each thing that is to be done has its lane, and ends those whose
// purpose is gone.
func (w *worker) assign(ctx context.Context, owned *sync.WaitGroup) {
	view, now := w.session.View(), w.cfg.Now()
	wanted := make(map[laneKey]*fsmpb.Certificate)
	want := func(row *fsmpb.Certificate) {
		cloud := view.Cloud(row.GetProject(), row.GetCloud())
		add := func(kind laneKind) { wanted[laneKey{keyOf(row), kind, row.GetGeneration()}] = row }
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
	w.mu.Lock()
	defer w.mu.Unlock()
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
		wanted[laneKey{key, laneObjects, generation}] = row
	}
	w.link.check(view.KubernetesCluster(w.key.provider, w.key.name).GetSealed())
	for key, l := range w.lanes {
		if wanted[key] == nil {
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

// link is how a worker stands with its cluster.
type link struct {
	conn    *connection // nil before there was one
	sealed  []byte      // that conn was made of
	away    reason      // why the cluster is away; none while it is there
	trouble reason      // why our requests can not be watched
	ready   bool
	changed chan struct{} // closed when any of this changes, or everybody is called
	again   chan struct{} // closed when conn is to be made anew
}

func newLink() link {
	return link{changed: make(chan struct{}), again: make(chan struct{}), away: reason{}}
}

// call ends the pauses of everybody.
func (l *link) call() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *link) reopen() {
	close(l.again)
	l.again = make(chan struct{})
}

// check has the connection made anew if another kubeconfig was registered.
func (l *link) check(sealed []byte) {
	if l.sealed != nil && !bytes.Equal(sealed, l.sealed) {
		l.sealed = nil
		l.reopen()
	}
}

// keepConnected keeps a connection, and its watch, while the cluster is registered.
func (w *worker) keepConnected(ctx context.Context) {
	for failures := 1; ctx.Err() == nil; failures++ {
		w.mu.Lock()
		again := w.link.again
		w.mu.Unlock()
		cluster := w.registered()
		if cluster == nil {
			return
		}
		c, err := w.open(ctx, cluster)
		if err != nil {
			w.away(nil, explain(err))
			if !sleep(ctx, w.cfg.pauseAfter(failures), again) {
				failures = 0
			}
			continue
		}
		failures = 0
		w.mu.Lock()
		w.link.conn, w.link.sealed = c, cluster.GetSealed()
		w.link.ready, w.link.trouble = false, reason{}
		w.mu.Unlock()
		watching, stop := context.WithCancel(ctx)
		var watcher sync.WaitGroup
		watcher.Go(func() {
			c.watch(watching, w.cfg.RetryMin, w.cfg.RetryMax, func(err error) { w.hear(c, err) })
		})
		select {
		case <-again:
		case <-ctx.Done():
		}
		stop()
		watcher.Wait()
		c.close()
	}
}

func (w *worker) open(ctx context.Context, cluster *fsmpb.KubernetesCluster) (*connection, error) {
	canonical, err := w.cfg.Secrets.Kubeconfig(ctx, cluster)
	if err != nil {
		return nil, err
	}
	defer clear(canonical)
	return connect(canonical, w.session.View().Meta().GetClusterId(), w.cfg.wrap)
}

// hear takes in how a try to list or watch went.
func (w *worker) hear(c *connection, err error) {
	why := reason{}
	if err != nil {
		why = explain(err)
	}
	if why.isAway() {
		w.away(c, why)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.link.conn != c {
		return
	}
	if w.link.ready && w.link.away == (reason{}) && w.link.trouble == why {
		return
	}
	if why.code == "" {
		w.log.Info("Kubernetes cluster is there", "server", c.cluster.Server)
	} else {
		w.log.Warn("certificate signing requests of a Kubernetes cluster can not be watched", "code", why.code, "reason", why.detail)
	}
	w.link.ready, w.link.away, w.link.trouble = true, reason{}, why
	w.duty.metrics.reach(w.key, true)
	w.link.call()
}

// away notes that the cluster is away. Lanes wait until it is back.
func (w *worker) away(c *connection, why reason) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c != nil && w.link.conn != c {
		return
	}
	if w.link.away.code != why.code {
		w.log.Warn("Kubernetes cluster is away: what it lacks waits", "code", why.code, "reason", why.detail)
	}
	w.link.ready, w.link.away = false, why
	w.duty.metrics.reach(w.key, false)
}

// connected waits until the cluster is there.
func (w *worker) connected(ctx context.Context) (*connection, error) {
	for {
		w.mu.Lock()
		c, ready, changed := w.link.conn, w.link.ready, w.link.changed
		w.mu.Unlock()
		if ready {
			return c, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err() //nolint:wrapcheck // the lane knows
		}
	}
}

// called is closed when pauses are to end.
func (w *worker) called() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.link.changed
}

// unwatched is why requests can not be watched, an error that is a reason; nil if they can.
func (w *worker) unwatched() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.link.trouble.code == "" {
		return nil
	}
	return &waiting{reason: w.link.trouble}
}

// row reads a row and its cloud again.
func (w *worker) row(key rowKey) (*fsm.View, *fsmpb.Certificate, *fsmpb.LogicalCloud) {
	view := w.session.View()
	return view, view.Certificate(key.project, key.cloud, key.reference), view.Cloud(key.project, key.cloud)
}
