package pods

import (
	"fmt"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/keysteward/keysteward/node/kubernetes/testimony"
)

// podName is a namespace and a name.
type podName struct{ namespace, name string }

func nameOf(s *testimony.Sight) podName { return podName{s.Namespace, s.Name} }

// listed is what is kept of an object while a list of them comes in: what testimony needs,
// and the name by which the list is kept.
type listed[T any] struct {
	metav1.ObjectMeta
	said T
}

// store is what a reflector writes to. It keeps of an object what was read from it.
type store[T any] struct {
	feed    *feed
	read    func(any) (*T, *metav1.ObjectMeta, error)
	put     func(*T) // with the watcher's lock, like all that follow
	remove  func(*metav1.ObjectMeta)
	replace func([]*T)
}

func (s *store[T]) of(obj any) (*T, *metav1.ObjectMeta, error) {
	if l, ok := obj.(*listed[T]); ok {
		return &l.said, &l.ObjectMeta, nil
	}
	return s.read(obj)
}

// Transformer makes little of an object as soon as it has come in a list.
func (s *store[T]) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		said, meta, err := s.of(obj)
		if err != nil {
			return nil, err
		}
		return &listed[T]{said: *said, ObjectMeta: metav1.ObjectMeta{Namespace: meta.Namespace, Name: meta.Name, UID: meta.UID}}, nil
	}
}

// Add implements cache.ReflectorStore.
func (s *store[T]) Add(obj any) error {
	said, _, err := s.of(obj)
	if err != nil {
		return err
	}
	s.feed.w.mu.Lock()
	defer s.feed.w.mu.Unlock()
	s.put(said)
	return nil
}

// Update implements cache.ReflectorStore.
func (s *store[T]) Update(obj any) error { return s.Add(obj) }

// Delete implements cache.ReflectorStore.
func (s *store[T]) Delete(obj any) error {
	_, meta, err := s.of(obj)
	if err != nil {
		return err
	}
	s.feed.w.mu.Lock()
	defer s.feed.w.mu.Unlock()
	s.remove(meta)
	return nil
}

// Replace implements cache.ReflectorStore.
func (s *store[T]) Replace(list []any, _ string) error {
	all := make([]*T, 0, len(list))
	for _, obj := range list {
		said, _, err := s.of(obj)
		if err != nil {
			return err
		}
		all = append(all, said)
	}
	return s.feed.settle(func() { s.replace(all) })
}

// Resync implements cache.ReflectorStore.
func (*store[T]) Resync() error { return nil }

// Bookmark implements cache.ReflectorBookmarkStore.
func (*store[T]) Bookmark(string) error { return nil }

func readPod(obj any) (*testimony.Sight, *metav1.ObjectMeta, error) {
	pod, ok := obj.(*core.Pod)
	if !ok {
		return nil, nil, fmt.Errorf("a %T among pods", obj)
	}
	s := testimony.Read(pod)
	return &s, &pod.ObjectMeta, nil
}

func readNode(obj any) (*testimony.Machine, *metav1.ObjectMeta, error) {
	node, ok := obj.(*core.Node)
	if !ok {
		return nil, nil, fmt.Errorf("a %T among nodes", obj)
	}
	m := testimony.ReadNode(node)
	return &m, &node.ObjectMeta, nil
}
