package leaderlabel

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	core "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/kubernetes"
	"github.com/keysteward/keysteward/node/kubernetes/kubetest"
)

const (
	namespace = "default"
	patience  = 20 * time.Second
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

func (j *journal) has(text string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return bytes.Contains(j.buf.Bytes(), []byte(text))
}

// scene is an API server with pods ks-0 and so on of one StatefulSet.
type scene struct {
	t       *testing.T
	kube    *kubetest.Cluster
	pods    core.PodInterface
	config  *rest.Config // that of the duties, with no more rights than they need
	journal *journal
}

func newScene(t *testing.T, pods int) *scene {
	t.Helper()
	s := &scene{t: t, kube: kubetest.Start(t), journal: &journal{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.journal.buf.String())
		}
	})
	admin, err := core.NewForConfig(s.kube.Admin)
	require.NoError(t, err)
	s.pods = admin.Pods(namespace)
	s.config, err = kubernetes.Config(s.kube.UserKubeconfig("member",
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list", "watch", "patch"}}))
	require.NoError(t, err)
	for i := range pods {
		s.pod(fmt.Sprintf("ks-%d", i), "the set")
	}
	return s
}

// pod makes a pod that is controlled by the one with this UID.
func (s *scene) pod(name, controller string) {
	s.t.Helper()
	s.kube.CreatePod(namespace, name)
	yes := true
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"ownerReferences": []metav1.OwnerReference{
		{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "ks", UID: types.UID(controller), Controller: &yes},
	}}})
	require.NoError(s.t, err)
	_, err = s.pods.Patch(s.t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{})
	require.NoError(s.t, err)
}

// label sets or, with an empty value, takes off.
func (s *scene) label(name, value string) {
	s.t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, Label, value)
	if value == "" {
		patch = fmt.Sprintf(`{"metadata":{"labels":{%q:null}}}`, Label)
	}
	_, err := s.pods.Patch(s.t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	require.NoError(s.t, err)
}

// requireWorn waits until these pods wear the label and no others.
func (s *scene) requireWorn(names ...string) {
	s.t.Helper()
	var have []string
	require.Eventually(s.t, func() bool {
		list, err := s.pods.List(s.t.Context(), metav1.ListOptions{LabelSelector: Label + "=" + Leader})
		if err != nil {
			return false
		}
		have = nil
		for i := range list.Items {
			have = append(have, list.Items[i].Name)
		}
		return slices.Equal(have, names)
	}, patience, 10*time.Millisecond, "%v wear it", names)
}

func (s *scene) duty(pod string) *Duty {
	s.t.Helper()
	d, err := New(Config{Kubernetes: s.config, Namespace: namespace, Pod: pod, Logger: slog.New(slog.NewTextHandler(s.journal, nil))})
	require.NoError(s.t, err)
	return d
}

// wear runs a duty until stop.
func (s *scene) wear(d *Duty) (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() { done <- d.wear(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(s.t, <-done)
	})
	s.t.Cleanup(stop)
	return stop
}

func TestLabelIsWornByOne(t *testing.T) {
	t.Parallel()
	s := newScene(t, 3)
	s.pod("other-0", "another set")
	s.label("other-0", Leader)
	s.label("ks-2", Leader) // left by a leader that crashed
	stop := s.wear(s.duty("ks-1"))
	s.requireWorn("ks-1", "other-0")
	s.label("ks-1", "")
	s.requireWorn("ks-1", "other-0")
	s.label("ks-1", "nonsense")
	s.requireWorn("ks-1", "other-0")

	// One that was paused wakes and labels itself: within a second or two it is undone.
	began := time.Now()
	s.label("ks-0", Leader)
	s.requireWorn("ks-1", "other-0")
	require.Less(t, time.Since(began), 5*time.Second)
	t.Logf("undone after %v", time.Since(began))

	s.kube.Stop()
	s.kube.Restart()
	s.label("ks-0", Leader)
	s.requireWorn("ks-1", "other-0")
	stop()
	s.requireWorn("other-0")
}

func TestTroubleIsSaid(t *testing.T) {
	t.Parallel()
	s := newScene(t, 1)
	s.wear(s.duty("ks-7"))
	require.Eventually(t, func() bool { return s.journal.has("this node's pod: NotFound") }, patience, 10*time.Millisecond)
	d := s.duty("ks-0")
	stop := s.wear(d)
	s.requireWorn("ks-0")
	stop()
	s.kube.DeletePod(namespace, "ks-0")
	s.pod("ks-0", "the set") // another pod has its name, and this process was forgotten
	s.wear(d)
	require.Eventually(t, func() bool { return s.journal.has(ErrReplaced.Error()) }, patience, 10*time.Millisecond)
	s.requireWorn()
	s.kube.Stop()
	s.wear(s.duty("ks-0"))
	require.Eventually(t, func() bool { return s.journal.has("Kubernetes does not answer") }, patience, 10*time.Millisecond)
}

type openVault struct{}

// Usable implements [node.Vault].
func (openVault) Usable(*fsm.View) (string, bool) { return "", true }

// The label goes from leader to leader: handed over, and after a crash.
func TestLabelFollowsTheLeader(t *testing.T) {
	t.Parallel()
	s := newScene(t, 3)
	nodes, servers := map[string]*node.Node{}, []raft.Server(nil)
	for i := range 3 {
		name := fmt.Sprintf("ks-%d", i)
		link, err := node.Listen(t.Context(), "127.0.0.1:0", "")
		require.NoError(t, err)
		n, err := node.Open(node.Config{Name: name, DataDir: t.TempDir(), Vault: openVault{}}, link)
		require.NoError(t, err)
		t.Cleanup(func() { _ = n.Close() })
		nodes[name] = n
		servers = append(servers, raft.Server{ID: raft.ServerID(n.ID()), Address: raft.ServerAddress(link.Advertised())})
		n.Start(s.duty(name))
	}
	require.NoError(t, nodes["ks-0"].Bootstrap(servers))
	leader := func() (name string) {
		require.Eventually(t, func() bool {
			for n := range nodes {
				if nodes[n].Status().IsLeader {
					name = n
					return true
				}
			}
			return false
		}, patience, 5*time.Millisecond)
		return name
	}
	first := leader()
	s.requireWorn(first)
	require.Eventually(t, func() bool { // handed over
		if leader() == first {
			_ = nodes[first].PassOn(t.Context(), func(id string) bool { return node.NameOf(id) != first })
		}
		return leader() != first
	}, patience, 10*time.Millisecond)
	s.requireWorn(leader())
	second := leader()
	began := time.Now()
	require.NoError(t, nodes[second].Close())
	delete(nodes, second)
	s.requireWorn(leader())
	t.Logf("worn by the next leader %v after the one before began to stop", time.Since(began))
}
