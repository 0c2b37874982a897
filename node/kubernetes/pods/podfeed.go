package pods

import (
	"context"
	"unique"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/keysteward/keysteward/node/kubernetes/testimony"
)

// podFeed follows the pods of a namespace, or of all.
func (w *Watcher) podFeed(namespace string) *feed {
	f := &feed{
		w: w, name: "pods", namespace: namespace, example: &core.Pod{},
		list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return w.client.watched.Pods(namespace).List(ctx, o)
		},
		watch: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return w.client.watched.Pods(namespace).Watch(ctx, o)
		},
	}
	if namespace != "" {
		f.name = "pods of " + namespace
	}
	f.store = &store[testimony.Sight]{
		feed: f, read: readPod, put: w.putPodLocked,
		remove:  func(meta *metav1.ObjectMeta) { w.removePodLocked(meta) },
		replace: func(all []*testimony.Sight) { w.replacePodsLocked(namespace, all) },
	}
	return f
}

// putPodLocked keeps what was seen of a pod. Each word of a kubelet is an event; few of
// them say something that matters here.
func (w *Watcher) putPodLocked(s *testimony.Sight) {
	s.Namespace, s.Node = unique.Make(s.Namespace).Value(), unique.Make(s.Node).Value()
	name := nameOf(s)
	before := w.pods[name]
	if before != nil && *before == *s {
		return
	}
	if before != nil && before.UID != s.UID {
		w.lostLocked(before)
	}
	w.pods[podName{s.Namespace, s.Name}] = s
	w.callLocked()
}

func (w *Watcher) removePodLocked(meta *metav1.ObjectMeta) {
	name := podName{meta.Namespace, meta.Name}
	if s := w.pods[name]; s != nil && s.UID == string(meta.UID) {
		delete(w.pods, name)
		w.callLocked()
	}
}

// replacePodsLocked takes in a list. Of pods that are not in it nobody knows what became.
func (w *Watcher) replacePodsLocked(namespace string, all []*testimony.Sight) {
	is := make(map[podName]string, len(all))
	for _, s := range all {
		is[nameOf(s)] = s.UID
	}
	for name, s := range w.pods {
		if (namespace == "" || name.namespace == namespace) && is[name] != s.UID {
			w.lostLocked(s)
			delete(w.pods, name)
		}
	}
	for _, s := range all {
		w.putPodLocked(s)
	}
	w.lists++
}

// nodeFeed follows the machines.
func (w *Watcher) nodeFeed() *feed {
	f := &feed{
		w: w, name: "nodes", example: &core.Node{},
		list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return w.client.watched.Nodes().List(ctx, o)
		},
		watch: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return w.client.watched.Nodes().Watch(ctx, o)
		},
	}
	f.store = &store[testimony.Machine]{
		feed: f, read: readNode, put: w.putMachineLocked,
		remove: func(meta *metav1.ObjectMeta) {
			delete(w.machines, meta.Name)
			w.callLocked()
		},
		replace: func(all []*testimony.Machine) {
			clear(w.machines)
			for _, m := range all {
				w.putMachineLocked(m)
			}
		},
	}
	return f
}

func (w *Watcher) putMachineLocked(m *testimony.Machine) {
	if before, known := w.machines[m.Name]; !known || before != *m {
		w.machines[m.Name] = *m
		w.callLocked()
	}
}
