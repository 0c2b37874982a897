package clouds

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Session is the leadership in which the duty runs.
type Session interface {
	// View returns the applied state, which includes everything that was logged
	// before the session began.
	View() *fsm.View
	// Propose has the command decided, after filling in version, session and wall
	// clock, and returns its value. The error wraps a *fsm.Refusal where the state
	// machine refused; any other means that the outcome is unknown or that the
	// session is over. When it returns without one, View shows the change.
	Propose(ctx context.Context, cmd *fsmpb.Command) (any, error)
}

// Duty brings logical clouds into their clusters. Between sessions it keeps nothing.
type Duty struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics

	mu      sync.Mutex
	workers map[clusterKey]*worker // of the present session
}

// clusterKey names a Kubernetes cluster.
type clusterKey struct{ provider, name string }

func (k clusterKey) String() string { return k.provider + "/" + k.name }

// quiet keeps client-go from writing to standard error by itself.
var quiet = sync.OnceFunc(func() { klog.SetLogger(klog.Logger{}) })

// New returns a duty that has not connected to anything yet. Errors wrap
// [ErrConfig] or are about registering metrics.
func New(cfg Config) (*Duty, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	quiet()
	d := &Duty{cfg: cfg, log: cfg.Logger, workers: make(map[clusterKey]*worker)}
	d.metrics, err = newMetrics(cfg.Metrics, d)
	return d, err
}

// Run works until ctx ends, and then returns nil when everything that it began has
// ended: whatever goes wrong meanwhile is told by the state and tried again. A duty
// runs in one session at a time.
func (d *Duty) Run(ctx context.Context, s Session) error {
	var owned sync.WaitGroup
	defer owned.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &run{
		duty: d, session: s, owned: &owned, observer: newObserver(s),
		keys: newKeyMaker(d, s, &owned),
	}
	d.metrics.begin(s)
	defer d.metrics.end()
	for range proposers {
		owned.Go(func() { r.observer.run(ctx) })
	}
	for ctx.Err() == nil {
		view := s.View()
		changed := view.WatchClouds()
		began := time.Now()
		next := r.pass(ctx, view)
		sleep(ctx, busyShare*time.Since(began), nil)
		until, stop := context.WithTimeout(ctx, next)
		changed.Wait(until.Done())
		stop()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.workers)
	return nil
}

// run is the duty in one session.
type run struct {
	duty     *Duty
	session  Session
	owned    *sync.WaitGroup
	observer *observer
	keys     *keyMaker
}

// busyShare is how many times as long as a look at the state the pause after it is, so
// that looking never takes more than a tenth of the time, however many rows there are.
const busyShare = 9

// longest and shortest time until the next look at what is to be renewed.
const (
	renewLook    = 5 * time.Second
	renewSoonest = 100 * time.Millisecond
)

// pass has keys made, sees that each registered cluster has its worker, and tells all
// of them that something may have changed. It returns when to look again at the latest.
func (r *run) pass(ctx context.Context, view *fsm.View) time.Duration {
	r.keys.look(ctx, view)
	due, next := r.renewals(view)
	d := r.duty
	d.mu.Lock()
	defer d.mu.Unlock()
	registered := make(map[clusterKey]bool)
	for c := range view.AllKubernetesClusters() {
		key := clusterKey{c.GetProvider(), c.GetMetadata().GetName()}
		registered[key] = true
		w := d.workers[key]
		if w == nil {
			w = newWorker(r, key)
			d.workers[key] = w
			ctx, cancel := context.WithCancel(ctx)
			w.cancel = cancel
			r.owned.Go(func() { w.run(ctx) })
		}
		w.look(due[key])
	}
	for key, w := range d.workers {
		if !registered[key] {
			w.cancel()
			delete(d.workers, key)
		}
	}
	return next
}

// renewals are the certificates that are to be renewed, by cluster, and how long it is
// until the next one may be.
func (r *run) renewals(view *fsm.View) (due map[clusterKey][]rowKey, next time.Duration) {
	now := r.duty.cfg.Now()
	due, next = make(map[clusterKey][]rowKey), renewLook
	for row := range view.Renewals() {
		if left := time.UnixMilli(row.GetRenewWallMs()).Sub(now); left > 0 {
			next = min(next, left)
			break
		}
		if left := renewAt(row).Sub(now); left > 0 {
			next = min(next, left)
			continue
		}
		key := clusterKey{row.GetProvider(), row.GetCluster()}
		due[key] = append(due[key], keyOf(row))
	}
	return due, max(next, renewSoonest)
}
