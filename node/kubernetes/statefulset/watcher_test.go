package statefulset

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apps "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	client "k8s.io/client-go/kubernetes/typed/apps/v1"
	"k8s.io/client-go/rest"

	"github.com/keysteward/keysteward/node/kubernetes"
	"github.com/keysteward/keysteward/node/kubernetes/kubetest"
)

const (
	namespace = "default"
	patience  = time.Minute
)

type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

// watching runs a watcher until the test ends.
func watching(t *testing.T, config *rest.Config, name string) (*Watcher, *journal) {
	t.Helper()
	j := &journal{}
	w, err := New(Config{Kubernetes: config, Namespace: namespace, Name: name, Logger: slog.New(slog.NewTextHandler(j, nil))})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
	})
	return w, j
}

func requireWanted(t *testing.T, w *Watcher, want int) {
	t.Helper()
	require.Eventually(t, func() bool {
		n, err := w.Wanted(t.Context())
		if want < 0 {
			return err != nil
		}
		return err == nil && n == want
	}, patience, 5*time.Millisecond, "%d replicas", want)
}

func TestReplicasAreFollowed(t *testing.T) {
	t.Parallel()
	kube := kubetest.Start(t)
	sets, err := client.NewForConfig(kube.Admin)
	require.NoError(t, err)
	ours := sets.StatefulSets(namespace)
	rights := func(name string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"statefulsets"}, ResourceNames: []string{name}, Verbs: []string{"get", "list", "watch"}}
	}
	config, err := kubernetes.Config(kube.UserKubeconfig("member", rights("ks")))
	require.NoError(t, err)
	w, j := watching(t, config, "ks")
	none, _ := watching(t, config, "other") // no right to see it
	_, err = w.Wanted(t.Context())
	require.ErrorIs(t, err, ErrUnknown)
	_, err = w.Confirmed(t.Context())
	require.ErrorIs(t, err, ErrUnknown)

	three := int32(3)
	labels := map[string]string{"app": "ks"}
	set := &apps.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "ks"},
		Spec: apps.StatefulSetSpec{Replicas: &three, ServiceName: "ks", Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: v1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: v1.PodSpec{Containers: []v1.Container{{Name: "c", Image: "none"}}},
		}},
	}
	_, err = ours.Create(t.Context(), set, metav1.CreateOptions{})
	require.NoError(t, err)
	requireWanted(t, w, 3)
	scale := func(n int32) {
		s, err := ours.GetScale(t.Context(), "ks", metav1.GetOptions{})
		require.NoError(t, err)
		s.Spec.Replicas = n
		_, err = ours.UpdateScale(t.Context(), "ks", s, metav1.UpdateOptions{}) // as kubectl scale does
		require.NoError(t, err)
	}
	scale(5)
	requireWanted(t, w, 5)
	n, err := w.Confirmed(t.Context())
	require.NoError(t, err)
	require.Equal(t, 5, n)

	kube.Stop()
	_, err = w.Confirmed(t.Context())
	require.ErrorIs(t, err, ErrUnknown)
	requireWanted(t, w, 5) // what was told last
	require.Eventually(t, func() bool { return bytes.Contains([]byte(j.String()), []byte("is not known")) }, patience, 5*time.Millisecond)
	kube.Restart()
	scale(4)
	requireWanted(t, w, 4)
	require.NoError(t, ours.Delete(t.Context(), "ks", metav1.DeleteOptions{}))
	requireWanted(t, w, -1)
	_, err = none.Wanted(t.Context())
	require.ErrorIs(t, err, ErrUnknown)
}

func TestOrdinal(t *testing.T) {
	t.Parallel()
	w, err := New(Config{Kubernetes: &rest.Config{Host: "https://127.0.0.1:1"}, Namespace: namespace, Name: "ks"})
	require.NoError(t, err)
	for name, want := range map[string]int{"ks-0": 0, "ks-12": 12, "ks": -1, "ks-": -1, "ks-01": -1, "ks--1": -1, "ks-a": -1, "other-0": -1, "ks-1-0": -1} {
		i, ok := w.Ordinal(name)
		require.Equal(t, want >= 0, ok, name)
		if ok {
			require.Equal(t, want, i)
		}
	}
}

func TestReplicasThatAreNotSaid(t *testing.T) {
	t.Parallel()
	require.Equal(t, 1, replicas(&apps.StatefulSet{}), "as the API defaults them")
}
