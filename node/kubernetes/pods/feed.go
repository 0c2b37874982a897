package pods

import (
	"context"
	"errors"
	"fmt"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// maxRetrySteps is more than it takes to double the shortest pause up to the longest.
const maxRetrySteps = 30

// fewRestarts bounds how the pause grows before a feed begins anew: to a second or two,
// since that is rare and each has its reason.
const fewRestarts = 4

// feed is one list and watch that is kept up: the pods of a namespace, or the nodes.
type feed struct {
	w         *Watcher
	name      string // for people: "pods", "pods of NAMESPACE", "nodes"
	namespace string // of pods; empty for all
	example   any    // an object of the watched type
	store     cache.ReflectorStore
	list      func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch     func(context.Context, metav1.ListOptions) (watch.Interface, error)

	// Guarded by the watcher's lock.
	synced   bool   // what is stored is what this Kubernetes had, and is kept up to date
	identity string // of the Kubernetes that was listed
	trouble  reason
	heard    time.Time       // the last word of a watch, or the end of a list
	life     context.Context //nolint:containedctx // of the list and watch; restart ends it
	restart  context.CancelFunc
}

// run keeps the feed up until ctx ends.
func (f *feed) run(ctx context.Context) {
	quiet := klog.Logger{} // has no sink
	for again := 0; ctx.Err() == nil; again++ {
		if again > 0 { // something had it begin anew, and may do so again
			sleep(ctx, f.w.cfg.pauseAfter(min(again, fewRestarts)), nil)
		}
		life, stop := f.begin(klog.NewContext(ctx, quiet))
		cache.NewReflectorWithOptions(&cache.ListWatch{
			ListWithContextFunc:  f.listing,
			WatchFuncWithContext: f.watching,
		}, f.example, f.store, cache.ReflectorOptions{
			Logger: &quiet, Name: f.name,
			Backoff: &wait.Backoff{Duration: f.w.cfg.RetryMin, Cap: f.w.cfg.RetryMax, Factor: 2, Jitter: 0.5, Steps: maxRetrySteps},
		}).RunWithContext(life)
		stop()
	}
}

// begin begins a list and watch, which restart ends.
func (f *feed) begin(ctx context.Context) (life context.Context, stop context.CancelFunc) {
	life, stop = context.WithCancel(ctx)
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.life, f.restart = life, stop
	return life, stop
}

// listing lists after looking which Kubernetes it is.
func (f *feed) listing(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	if _, err := f.identify(ctx); err != nil {
		return nil, f.told(ctx, err)
	}
	list, err := f.list(ctx, o)
	if err != nil {
		return nil, f.told(ctx, fmt.Errorf("list %s: %w", f.name, err))
	}
	return list, nil
}

// watching goes on watching, or begins with a list that comes as events. What happened
// while Kubernetes was away can only be told by a watch that goes on where it broke off,
// so that is tried until it works, or until Kubernetes says that it knows no more.
func (f *feed) watching(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	begins := o.ResourceVersion == "" || o.SendInitialEvents != nil && *o.SendInitialEvents
	for failures := 1; ; failures++ {
		w, err := f.open(ctx, o, begins)
		if err == nil || begins || ctx.Err() != nil || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			return w, err
		}
		sleep(ctx, f.w.cfg.pauseAfter(failures), nil)
	}
}

// open opens a watch. One of what another Kubernetes had does not go on.
func (f *feed) open(ctx context.Context, o metav1.ListOptions, begins bool) (watch.Interface, error) {
	listed, err := f.identify(ctx)
	if err != nil {
		return nil, f.told(ctx, err)
	}
	if !listed && !begins {
		return nil, apierrors.NewResourceExpired("what was listed is of another Kubernetes")
	}
	w, err := f.watch(ctx, o)
	if err != nil {
		return nil, f.told(ctx, fmt.Errorf("watch %s: %w", f.name, err))
	}
	_ = f.told(ctx, nil)
	return newTap(w, f.event), nil
}

// identify looks which Kubernetes answers. If it is another one than before, all that was
// known is forgotten. It reports whether what this feed listed is of the one that answers.
func (f *feed) identify(ctx context.Context) (listed bool, err error) {
	is, err := f.w.client.identity(ctx)
	if err != nil {
		return false, err
	}
	f.w.meet(is)
	f.w.mu.RLock()
	defer f.w.mu.RUnlock()
	return f.synced && f.identity == is, nil
}

// settle marks what was just listed as that of the Kubernetes which answers now, if it
// is the one that answered before the list.
func (f *feed) settle(take func()) error {
	f.w.mu.RLock()
	before, ctx := f.w.identity, f.life
	f.w.mu.RUnlock()
	is, err := f.w.client.identity(ctx)
	if err != nil {
		return f.told(ctx, err)
	}
	f.w.meet(is)
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	if is != before || is != f.w.identity || ctx.Err() != nil {
		return errors.New("another Kubernetes answers than the one that was asked")
	}
	take()
	f.synced, f.identity, f.heard, f.trouble = true, is, f.w.cfg.now(), reason{}
	f.w.callLocked()
	return nil
}

// event takes in what a watch shows before the store does: the last state of a deleted
// pod is told by this event and never again.
func (f *feed) event(e watch.Event) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.heard = f.w.cfg.now()
	if pod, ok := e.Object.(*core.Pod); ok && e.Type == watch.Deleted {
		f.w.deletedLocked(pod)
	}
}

// told notes how the feed stands with Kubernetes and returns the error in a form that the
// reflector pauses after: it would wait for an API server that refuses connections
// without heeding the end of its context.
func (f *feed) told(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	why := explain(err)
	f.w.mu.Lock()
	news := f.trouble.code != why.code
	f.trouble = why
	f.w.mu.Unlock()
	switch {
	case err == nil:
		if news {
			f.w.log.Info("Kubernetes is followed", "what", f.name)
		}
		return nil
	case news:
		f.w.log.Warn("Kubernetes can not be followed; keys stay where they are meanwhile", "what", f.name, "code", why.code, "reason", why.detail)
	}
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.IsInvalid(err) || apierrors.IsTimeout(err) {
		return err
	}
	return errors.New(err.Error())
}
