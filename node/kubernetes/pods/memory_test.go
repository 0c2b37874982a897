package pods

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/keysteward/keysteward/node/kubernetes/testimony"
)

// still is a watcher that is connected to nothing.
func still(t testing.TB, s *state, now func() time.Time) *Watcher {
	t.Helper()
	w, err := New(Config{Kubernetes: &rest.Config{Host: "https://127.0.0.1:1"}, View: s.View, now: now})
	require.NoError(t, err)
	return w
}

// fat is a pod as large as those that operators make.
func fat(i int) *core.Pod {
	pod := &core.Pod{}
	pod.Namespace, pod.Name, pod.UID = "validators", fmt.Sprintf("validator-%d", i), types.UID(fmt.Sprintf("%036d", i))
	pod.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": strings.Repeat("x", 2000)}
	pod.Spec.NodeName = fmt.Sprintf("machine-%d", i%50)
	for j := range 4 {
		c := core.Container{Name: fmt.Sprintf("container-%d", j), Image: strings.Repeat("i", 100)}
		for k := range 20 {
			c.Env = append(c.Env, core.EnvVar{Name: fmt.Sprintf("NAME_%d", k), Value: strings.Repeat("v", 40)})
		}
		pod.Spec.Containers = append(pod.Spec.Containers, c)
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, core.ContainerStatus{
			Name: c.Name, Image: c.Image, ContainerID: strings.Repeat("c", 77), State: core.ContainerState{Running: &core.ContainerStateRunning{}},
		})
	}
	pod.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet", FieldsV1: metav1.NewFieldsV1(strings.Repeat("f", 3000))}}
	pod.Status.Phase = core.PodRunning
	return pod
}

// TestMemoryPerPod measures what is kept of 5,000 pods.
func TestMemoryPerPod(t *testing.T) { //nolint:paralleltest // it measures the heap
	const pods = 5000
	w := still(t, newState(t, 1), nil)
	feed := w.feeds[0]
	before := live()
	for i := range pods {
		text, err := fat(i).Marshal() // what comes over the wire
		require.NoError(t, err)
		pod := &core.Pod{}
		require.NoError(t, pod.Unmarshal(text))
		require.NoError(t, feed.store.Add(pod))
	}
	perPod := (live() - before) / pods
	t.Logf("%d bytes per pod", perPod)
	require.Less(t, perPod, int64(1024), "bytes per followed pod")
	require.Len(t, w.pods, pods)
	runtime.KeepAlive(w)
}

func live() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestForget bounds what is remembered of pods that are gone.
func TestForget(t *testing.T) {
	t.Parallel()
	s := newState(t, 2)
	now := time.Unix(1_000_000, 0)
	w := still(t, s, func() time.Time { return now })
	holder, waits := fat(1), fat(2)
	s.allocate(holder, 2)
	gone := func(pod *core.Pod) {
		w.feeds[0].event(watch.Event{Type: watch.Deleted, Object: pod})
	}
	gone(holder)
	gone(waits)
	for i := range 3 * maxFresh {
		now = now.Add(time.Millisecond)
		gone(fat(100 + i))
		require.LessOrEqual(t, len(w.memories), 2*maxFresh+2)
	}
	require.NotNil(t, w.memories[string(holder.UID)], "who holds keys is remembered")
	require.NotNil(t, w.memories[string(fat(99+3*maxFresh).UID)], "the latest is remembered")
	now = now.Add(freshFor + time.Second)
	w.forgetLocked()
	require.Len(t, w.memories, 1)
	require.NotNil(t, w.memories[string(holder.UID)])
}

// TestLost lists pods anew: of those that are missing nothing is known but the last sight.
func TestLost(t *testing.T) {
	t.Parallel()
	s := newState(t, 2)
	w := still(t, s, nil)
	holder, other := fat(1), fat(2)
	s.allocate(holder, 2)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, pod := range []*core.Pod{holder, other} {
		sight := testimony.Read(pod)
		w.putPodLocked(&sight)
	}
	next := testimony.Read(fat(3))
	w.replacePodsLocked("", []*testimony.Sight{&next})
	require.Len(t, w.pods, 1)
	require.Len(t, w.memories, 1)
	m := w.memories[string(holder.UID)]
	require.False(t, m.deleted)
	require.Equal(t, "machine-1", m.last.Node)
}
