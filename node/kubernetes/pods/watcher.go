package pods

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/keysteward/keysteward/node/kubernetes/testimony"
)

// forgetEvery is the time between two looks at what need not be remembered.
const forgetEvery = time.Minute

// quiet keeps client-go from writing to standard error by itself.
var quiet = sync.OnceFunc(func() { klog.SetLogger(klog.Logger{}) })

// Watcher follows the pods and nodes of one Kubernetes, on every node.
type Watcher struct {
	cfg     Config
	log     *slog.Logger
	client  *client
	metrics *metrics
	poster  *poster
	// refusals posts Events of the reason EventNotAllowed.
	refusals *poster
	feeds    []*feed // of pods, and last of nodes

	mu           sync.RWMutex
	identity     string // of the Kubernetes that all that follows is about
	pods         map[podName]*testimony.Sight
	machines     map[string]testimony.Machine
	memories     map[string]*memory // by UID
	memoriesMost int                // before it is looked what can be forgotten
	absent       map[string]absence // by UID
	off          map[string]word    // by name of a machine
	lists        int                // how often pods were listed
	asking       reason             // why pods can not be asked for
	changed      chan struct{}
}

// New returns a watcher that has not connected to anything yet. Errors wrap [ErrConfig]
// or are about registering metrics.
func New(cfg Config) (*Watcher, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	quiet()
	w := &Watcher{
		cfg: cfg, log: cfg.Logger, pods: make(map[podName]*testimony.Sight), machines: make(map[string]testimony.Machine),
		memories: make(map[string]*memory), absent: make(map[string]absence), off: make(map[string]word), memoriesMost: maxFresh, changed: make(chan struct{}, 1),
	}
	if w.client, err = newClient(cfg.Kubernetes, cfg.wrap); err != nil {
		return nil, err
	}
	for _, namespace := range cfg.Namespaces {
		w.feeds = append(w.feeds, w.podFeed(namespace))
	}
	if len(cfg.Namespaces) == 0 {
		w.feeds = append(w.feeds, w.podFeed(""))
	}
	w.feeds = append(w.feeds, w.nodeFeed())
	w.poster = newPoster(w, maxPosts, postsPerSec, postsBurst)
	w.refusals = newPoster(w, maxRefusals, refusalsPerSec, refusalsBurst)
	w.metrics, err = newMetrics(cfg.Metrics, w)
	return w, err
}

// Run follows until ctx ends, and returns when everything that it began has ended.
func (w *Watcher) Run(ctx context.Context) error {
	var owned sync.WaitGroup
	defer w.client.close()
	defer owned.Wait()
	for _, f := range w.feeds {
		owned.Go(func() { f.run(ctx) })
	}
	owned.Go(func() { w.poster.run(ctx) })
	owned.Go(func() { w.refusals.run(ctx) })
	tick := time.NewTicker(forgetEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.mu.Lock()
			w.forgetLocked()
			w.mu.Unlock()
		case <-ctx.Done():
			return nil
		}
	}
}

// meet notes which Kubernetes answers. All that is known of another one is forgotten, and
// everything is listed anew.
func (w *Watcher) meet(is string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.identity == is {
		return
	}
	was := w.identity
	if was != "" {
		w.log.Error("another Kubernetes answers than before: nothing that it shows is about the pods of the former one", "was", was, "is", is)
	}
	w.identity = is
	clear(w.pods)
	clear(w.machines)
	clear(w.memories)
	clear(w.absent)
	clear(w.off)
	for _, f := range w.feeds {
		f.synced = false
		if was != "" && f.restart != nil {
			f.restart() // also those whose watch is well, wherever it leads
		}
	}
	w.callLocked()
}

// callLocked tells the duty that something may have changed.
func (w *Watcher) callLocked() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// feedOf is the feed that the pods of a namespace come from, nil if they are not followed.
func (w *Watcher) feedOf(namespace string) *feed {
	for _, f := range w.feeds[:len(w.feeds)-1] {
		if f.namespace == "" || f.namespace == namespace {
			return f
		}
	}
	return nil
}

func (w *Watcher) nodes() *feed { return w.feeds[len(w.feeds)-1] }
