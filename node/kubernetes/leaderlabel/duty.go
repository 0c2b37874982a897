package leaderlabel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/keysteward/keysteward/node"
)

// Label and Leader are what the pod of the leader wears.
const (
	Label  = "keysteward.io/role"
	Leader = "leader"
)

const (
	// lookAgain is how often the duty looks without having been told of a change.
	lookAgain = 30 * time.Second
	// retry is how long it waits after something failed.
	retry = time.Second
	// farewell bounds taking the label off at the end.
	farewell = time.Second
)

// ErrReplaced says that the pod of this name is another one by now: this process runs
// in one that Kubernetes has forgotten.
var ErrReplaced = errors.New("another pod has this pod's name")

// Config names the pod in which this process runs.
type Config struct {
	Kubernetes     *rest.Config
	Namespace, Pod string
	Logger         *slog.Logger
}

// Duty labels the leader's pod. It needs the right to get, list, watch and patch pods
// in its namespace.
type Duty struct {
	cfg     Config
	asked   client.PodInterface // with a time-out
	watched client.PodInterface // without

	mu   sync.Mutex
	self *v1.Pod // as it was first seen; nil before
}

var _ node.Duty = (*Duty)(nil)

// New prepares the duty; nothing is sent yet.
func New(cfg Config) (*Duty, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	short, err := client.NewForConfig(cfg.Kubernetes)
	if err != nil {
		return nil, fmt.Errorf("label of the leader: %w", err)
	}
	patient := rest.CopyConfig(cfg.Kubernetes)
	patient.Timeout = 0 // a watch lasts
	long, err := client.NewForConfig(patient)
	if err != nil {
		return nil, fmt.Errorf("label of the leader: %w", err)
	}
	return &Duty{cfg: cfg, asked: short.Pods(cfg.Namespace), watched: long.Pods(cfg.Namespace)}, nil
}

// Name implements [node.Duty].
func (d *Duty) Name() string { return "leader-label" }

// Run implements [node.Duty]: until the context ends this pod wears the label and no
// other one of its kind does.
func (d *Duty) Run(ctx context.Context, _ *node.Session) error { return d.wear(ctx) }

func (d *Duty) wear(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	wearers := cache.NewSharedInformer(d.lister(), &v1.Pod{}, 0)
	nudge := func(any) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	_, err := wearers.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: nudge, DeleteFunc: nudge, UpdateFunc: func(_, o any) { nudge(o) },
	})
	if err != nil {
		return fmt.Errorf("label of the leader: %w", err)
	}
	var watching sync.WaitGroup
	watching.Go(func() { wearers.RunWithContext(klog.NewContext(ctx, klog.Logger{})) })
	defer watching.Wait()
	defer d.takeOff(context.WithoutCancel(ctx))
	nudge(nil)
	said := ""
	for wait := lookAgain; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(wait):
		}
		wait = lookAgain
		err := d.look(ctx, wearers)
		if err != nil && ctx.Err() == nil {
			wait = retry
			if err.Error() != said {
				d.cfg.Logger.Warn("the leader's pod is not labelled as it should be", "pod", d.cfg.Namespace+"/"+d.cfg.Pod, "error", err)
			}
			said = err.Error()
			continue
		}
		said = ""
	}
}

func (d *Duty) lister() *cache.ListWatch {
	const only = Label + "=" + Leader
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = only
			return d.asked.List(ctx, o) //nolint:wrapcheck // the reflector tells errors apart
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = only
			return d.watched.Watch(ctx, o) //nolint:wrapcheck // the same
		},
	}
}

// look puts the label on this pod and takes it off the others of its kind.
func (d *Duty) look(ctx context.Context, wearers cache.SharedInformer) error {
	self, err := d.own(ctx)
	if err != nil {
		return err
	}
	worn := false
	var errs []error
	for _, o := range wearers.GetStore().List() {
		pod, ok := o.(*v1.Pod)
		switch {
		case !ok:
		case pod.UID == self.UID:
			worn = true
		case ofOneKind(self, pod):
			d.cfg.Logger.Info("another pod wore the leader's label", "pod", pod.Namespace+"/"+pod.Name)
			errs = append(errs, d.label(ctx, pod, nil))
		}
	}
	if !worn {
		leader := Leader
		errs = append(errs, d.label(ctx, self, &leader))
	}
	return errors.Join(errs...)
}

// own is the pod of this process.
func (d *Duty) own(ctx context.Context) (*v1.Pod, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.self != nil {
		return d.self, nil
	}
	pod, err := d.asked.Get(ctx, d.cfg.Pod, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("this node's pod: %s", reason(err))
	}
	d.self = pod
	return pod, nil
}

// label sets the label of a pod, nil to take it off, if it still is that very pod.
func (d *Duty) label(ctx context.Context, pod *v1.Pod, value *string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": pod.UID, "labels": map[string]*string{Label: value},
	}})
	if err != nil {
		return fmt.Errorf("label of pod %s: %w", pod.Name, err)
	}
	_, err = d.asked.Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	replaced := apierrors.IsConflict(err) || apierrors.IsInvalid(err) // a UID can not be changed
	switch {
	case err == nil, value == nil && (replaced || apierrors.IsNotFound(err)): // it is gone
		return nil
	case replaced:
		return fmt.Errorf("label of pod %s: %w", pod.Name, ErrReplaced)
	}
	return fmt.Errorf("label of pod %s: %s", pod.Name, reason(err))
}

// takeOff is tried once: the next leader does it if this one can not.
func (d *Duty) takeOff(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	d.mu.Lock()
	self := d.self
	d.mu.Unlock()
	if self == nil {
		return
	}
	if err := d.label(ctx, self, nil); err != nil {
		d.cfg.Logger.Info("this pod may wear the leader's label for a while yet", "error", err)
	}
}

// ofOneKind tells whether two pods have the same controller: the same StatefulSet.
func ofOneKind(a, b *v1.Pod) bool {
	x, y := metav1.GetControllerOf(a), metav1.GetControllerOf(b)
	return x != nil && y != nil && x.UID == y.UID
}

// reason is an error of the client, without what changes from one to the next.
func reason(err error) string {
	if r := apierrors.ReasonForError(err); r != metav1.StatusReasonUnknown {
		return string(r)
	}
	return "Kubernetes does not answer"
}
