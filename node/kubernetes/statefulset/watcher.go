package statefulset

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"

	apps "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	client "k8s.io/client-go/kubernetes/typed/apps/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// ErrUnknown says that it is not known how many replicas are wanted.
var ErrUnknown = errors.New("the number of replicas is not known")

// Config names the StatefulSet.
type Config struct {
	Kubernetes      *rest.Config
	Namespace, Name string
	Logger          *slog.Logger
}

// Watcher knows how many replicas are wanted, while Run runs. It needs the right to
// get, list and watch this one StatefulSet.
type Watcher struct {
	cfg      Config
	asked    client.StatefulSetInterface // with a time-out
	watched  client.StatefulSetInterface // without
	informer cache.SharedInformer

	mu   sync.Mutex
	said string
}

// New prepares a watcher; nothing is sent yet.
func New(cfg Config) (*Watcher, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	w := &Watcher{cfg: cfg}
	short, err := client.NewForConfig(cfg.Kubernetes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w, err)
	}
	patient := rest.CopyConfig(cfg.Kubernetes)
	patient.Timeout = 0 // a watch lasts
	long, err := client.NewForConfig(patient)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w, err)
	}
	w.asked, w.watched = short.StatefulSets(cfg.Namespace), long.StatefulSets(cfg.Namespace)
	w.informer = cache.NewSharedInformer(w.lister(), &apps.StatefulSet{}, 0)
	return w, nil
}

// String implements fmt.Stringer.
func (w *Watcher) String() string { return "StatefulSet " + w.cfg.Namespace + "/" + w.cfg.Name }

func (w *Watcher) lister() *cache.ListWatch {
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, w.cfg.Name).String()
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = only
			list, err := w.asked.List(ctx, o)
			w.tell(ctx, err)
			return list, err //nolint:wrapcheck // the reflector tells errors apart
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = only
			seen, err := w.watched.Watch(ctx, o)
			w.tell(ctx, err)
			return seen, err //nolint:wrapcheck // the same
		},
	}
}

// tell logs what hinders the watch, once until it is something else.
func (w *Watcher) tell(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	text := ""
	if err != nil {
		text = reason(err)
	}
	w.mu.Lock()
	news := text != w.said
	w.said = text
	w.mu.Unlock()
	switch {
	case news && err != nil:
		w.cfg.Logger.Warn("how many replicas are wanted is not known; no member is removed meanwhile", "statefulset", w.String(), "error", text)
	case news:
		w.cfg.Logger.Info("Kubernetes tells again how many replicas are wanted", "statefulset", w.String())
	}
}

// reason is an error of the client, without what changes from one to the next.
func reason(err error) string {
	if r := apierrors.ReasonForError(err); r != metav1.StatusReasonUnknown {
		return string(r)
	}
	return "Kubernetes does not answer"
}

// Run follows the StatefulSet until the context ends.
func (w *Watcher) Run(ctx context.Context) error {
	w.informer.RunWithContext(klog.NewContext(ctx, klog.Logger{}))
	return nil
}

// Wanted is how many replicas were wanted when Kubernetes told last. The error wraps
// [ErrUnknown] while it has not told, or there is no such StatefulSet.
func (w *Watcher) Wanted(context.Context) (int, error) {
	if !w.informer.HasSynced() {
		return 0, fmt.Errorf("%s: %w", w, ErrUnknown)
	}
	for _, o := range w.informer.GetStore().List() {
		if set, ok := o.(*apps.StatefulSet); ok {
			return replicas(set), nil
		}
	}
	return 0, fmt.Errorf("%s does not exist: %w", w, ErrUnknown)
}

// Confirmed asks Kubernetes for what is true now, past all caches. The error wraps
// [ErrUnknown].
func (w *Watcher) Confirmed(ctx context.Context) (int, error) {
	set, err := w.asked.Get(ctx, w.cfg.Name, metav1.GetOptions{}) // no resource version: the newest
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", w, ErrUnknown, reason(err))
	}
	return replicas(set), nil
}

// replicas of a set that says nothing are one.
func replicas(set *apps.StatefulSet) int {
	if set.Spec.Replicas == nil {
		return 1
	}
	return int(*set.Spec.Replicas)
}

// Ordinal of a pod of this StatefulSet by its name; not ok for any other pod.
func (w *Watcher) Ordinal(name string) (i int, ok bool) {
	text, ok := strings.CutPrefix(name, w.cfg.Name+"-")
	if !ok {
		return 0, false
	}
	i, err := strconv.Atoi(text)
	return i, err == nil && i >= 0 && strconv.Itoa(i) == text
}
