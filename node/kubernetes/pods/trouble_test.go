package pods

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/kubetest"
	"github.com/keysteward/keysteward/node/kubernetes/testimony"
)

// line is what a watcher's requests go over; it may be cut.
type line struct {
	cut  atomic.Bool
	lies atomic.Bool // lists of pods are empty
	gets atomic.Int64
}

func (l *line) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		if l.cut.Load() {
			return nil, http.ErrServerClosed
		}
		if strings.HasPrefix(r.URL.Path, "/api/v1/namespaces/") && strings.Contains(r.URL.Path, "/pods/") {
			l.gets.Add(1)
		}
		if l.lies.Load() && strings.HasSuffix(r.URL.Path, "/pods") {
			r = r.Clone(r.Context())
			q := r.URL.Query()
			q.Set("labelSelector", "nothing=nowhere")
			r.URL.RawQuery = q.Encode()
		}
		answer, err := next.RoundTrip(r)
		if err == nil && r.URL.Query().Get("watch") != "" {
			answer.Body = &cuttable{ReadCloser: answer.Body, line: l}
		}
		return answer, err
	})
}

func (l *line) over(c *Config) {
	c.wrap, c.lagging, c.relistPause = l.wrap, 50*time.Millisecond, 200*time.Millisecond
}

// cuttable is the answer to a watch.
type cuttable struct {
	io.ReadCloser
	line *line
	once sync.Once
	gone chan struct{}
}

// Read implements io.Reader.
func (c *cuttable) Read(p []byte) (int, error) {
	c.once.Do(func() {
		c.gone = make(chan struct{})
		go func() {
			for !c.line.cut.Load() {
				select {
				case <-c.gone:
					return
				case <-time.After(glance):
				}
			}
			_ = c.Close()
		}()
	})
	n, err := c.ReadCloser.Read(p)
	if err != nil {
		select {
		case <-c.gone:
		default:
			close(c.gone)
		}
	}
	return n, err //nolint:wrapcheck // a test
}

// TestAway takes the API server away in several ways.
func TestAway(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Start(t)
	s := &scene{state: newState(t, 60), kube: newKube(t, cluster), t: t}
	w := s.watch(cluster.Admin)
	in, _ := s.lead(w)
	awaitSynced(t, w)
	pod := s.holder("away")
	eventually(t, func() bool { return s.allocation(pod).GetNode() != "" }, "it should be seen")

	cluster.Stop()
	eventually(t, func() bool { return w.Status().Code == CodeUnreachable }, "the status should say so: %+v", w.Status())
	proposals := in.count.Load()
	stranger := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "away", Name: "stranger", UID: "never-there"}}
	s.allocate(stranger, 1)
	eventually(t, func() bool { return w.Status().Detail != "" && w.Status().Identity != "" }, "")
	s.requireHeld(t, pod)
	require.Equal(t, proposals, in.count.Load(), "nothing is said of pods while nobody can tell")

	cluster.Restart()
	s.awaitRest(t, stranger, testimony.CodeGone)
	s.requireHeld(t, pod)
	awaitSynced(t, w)
	s.remove(pod, 30)
	s.end(pod)
	s.awaitProof(pod, terminated)
}

// TestBreak breaks the watch while pods end: what a watch can still tell afterwards is
// proof, what it can not tell is none.
func TestBreak(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Start(t)
	s := &scene{state: newState(t, 60), kube: newKube(t, cluster), t: t}
	var l line
	w := s.watch(cluster.Admin, l.over)
	s.lead(w)
	awaitSynced(t, w)
	first, second, third := s.holder("break-1"), s.holder("break-2"), s.holder("break-3")
	for _, p := range []*core.Pod{first, second, third} {
		eventually(t, func() bool { return s.allocation(p).GetNode() != "" }, "it should be seen")
	}
	cut := func() {
		l.cut.Store(true)
		eventually(t, func() bool { return w.Status().Code == CodeUnreachable }, "it should be away")
	}

	cut()
	s.remove(first, 30)
	s.end(first)
	s.requireHeld(t, first)
	l.cut.Store(false)
	s.awaitProof(first, terminated)

	cut()
	s.remove(second, 30)
	s.end(second)
	next := s.run("break-2", "validator-0")
	s.remove(third, 30)
	s.report(stopped(s.get(third)))
	cluster.Stop()
	cluster.Restart() // it knows nothing of what was before: "too old resource version"
	l.cut.Store(false)
	s.awaitRest(t, second, testimony.CodeReplaced)
	s.awaitProof(third, terminated)
	s.allocate(next, 2)
	s.requireNothingNew(second)
}

// TestRebuilt puts an empty Kubernetes in the place of the one that has the pods.
func TestRebuilt(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Start(t)
	s := &scene{state: newState(t, 60), kube: newKube(t, cluster), t: t}
	w := s.watch(cluster.Admin)
	s.lead(w)
	awaitSynced(t, w)
	s.node("machine", core.ConditionTrue)
	pods := []*core.Pod{s.holder("rebuilt-1"), s.holder("rebuilt-2")}
	for _, p := range pods {
		eventually(t, func() bool { return s.allocation(p).GetNode() != "" }, "it should be seen")
	}
	before := w.Status().Identity

	cluster.Rebuild()
	eventually(t, func() bool {
		st := w.Status()
		return st.Identity != before && st.Code == ""
	}, "another one should be met")
	s.node("machine", core.ConditionFalse, core.TaintNodeOutOfService)
	next := s.run("rebuilt-1", "validator-0")
	s.allocate(next, 2)
	s.awaitRest(t, pods[0], testimony.CodeOtherKubernetes)
	require.Contains(t, s.allocation(pods[0]).GetDetail(), before)
	eventually(t, func() bool { return strings.Contains(s.events(next)[EventKeysWaiting], testimony.CodeOtherKubernetes) }, "the new pod should be told")
	s.requireNothingNew(pods[0])
	s.requireHeld(t, pods[1])
}

// TestContradiction lets the API server list nothing that it has.
func testContradiction(t *testing.T, cluster *kubetest.Cluster) {
	t.Helper()
	s := &scene{state: newState(t, 60), kube: newKube(t, cluster), t: t}
	var l line
	l.lies.Store(true)
	pod := s.holder("lies")
	w := s.watch(cluster.Admin, l.over)
	in, _ := s.lead(w)
	eventually(t, func() bool { return w.Status().Code == CodeContradiction }, "the status should say so")
	s.requireHeld(t, pod)
	require.Zero(t, in.count.Load())
	asked := l.gets.Load()
	require.Less(t, asked, int64(20), "nothing is polled")
	l.lies.Store(false)
	awaitSynced(t, w)
	eventually(t, func() bool { return s.allocation(pod).GetNode() != "" }, "it should be seen")
	s.remove(pod, 30)
	s.end(pod)
	s.awaitProof(pod, terminated)
}

// testForbidden takes permissions away.
func testForbidden(t *testing.T, cluster *kubetest.Cluster) {
	t.Helper()
	read := func(what ...string) rbac.PolicyRule {
		return rbac.PolicyRule{APIGroups: []string{""}, Resources: what, Verbs: []string{"get", "list", "watch"}}
	}
	identity := rbac.PolicyRule{APIGroups: []string{""}, Resources: []string{"namespaces"}, ResourceNames: []string{"kube-system"}, Verbs: []string{"get"}}
	for _, c := range []struct {
		name    string
		rules   []rbac.PolicyRule
		missing string
		follows bool
	}{
		{"no-nodes", []rbac.PolicyRule{read("pods"), identity}, `resource "nodes"`, true},
		{"no-pods", []rbac.PolicyRule{read("nodes"), identity}, `resource "pods"`, false},
		{"no-identity", []rbac.PolicyRule{read("pods", "nodes")}, `resource "namespaces"`, false},
	} {
		config, err := clientcmd.BuildConfigFromFlags("", cluster.UserKubeconfig("lacks-"+c.name, c.rules...))
		require.NoError(t, err)
		s := &scene{state: newState(t, 60), kube: newKube(t, cluster), t: t}
		pod := s.holder("lacks-" + c.name)
		w := s.watch(config)
		s.lead(w)
		eventually(t, func() bool { return w.Status().Code == CodeForbidden }, "the status should say so")
		require.Contains(t, w.Status().Detail, c.missing)
		check := w.Check()
		require.False(t, check.OK)
		require.Contains(t, check.Detail, c.missing)
		s.remove(pod, 30)
		if c.follows {
			eventually(t, func() bool { return w.Status().Pods > 0 }, "pods are followed all the same")
			s.end(pod)
			s.awaitProof(pod, terminated) // and nothing stops for want of the right to post Events
		} else {
			s.requireHeld(t, pod)
		}
	}
}

// testNamespaces follows some namespaces only.
func testNamespaces(t *testing.T, cluster *kubetest.Cluster) {
	t.Helper()
	s := &scene{state: newState(t, 60), kube: newKube(t, cluster), t: t}
	in, out := s.holder("followed"), s.holder("not-followed")
	w := s.watch(cluster.Admin, func(c *Config) { c.Namespaces = []string{"followed", "empty", "followed"} })
	s.lead(w)
	awaitSynced(t, w)
	require.Equal(t, 1, w.Status().Pods)
	check := w.Check()
	require.False(t, check.OK)
	require.Contains(t, check.Detail, CodeNotFollowed+": 1 pods that hold keys are in namespaces that are not followed: not-followed")
	require.InDelta(t, 1, gaugeOf(t, w, "keysteward_pods_not_followed", ""), 0)
	s.remove(out, 0)
	s.remove(in, 30)
	s.end(in)
	s.awaitProof(in, terminated)
	s.requireHeld(t, out)
	s.do(&fsmpb.Command{Body: &fsmpb.Command_Release{Release: &fsmpb.Release{
		Namespace: out.Namespace, Pod: out.Name, Fence: s.allocation(out).GetFence(), Proof: &fsmpb.Proof{Kind: fsmpb.Proof_KIND_OPERATOR, By: "op"}, WaitMs: 1000,
	}}})
	require.True(t, w.Check().OK, "an operator said so")
}

// testLeaders changes leaders while pods end: the next one saw it as a follower.
func testLeaders(t *testing.T, cluster *kubetest.Cluster) {
	t.Helper()
	s := &scene{state: newState(t, 60), kube: newKube(t, cluster), t: t}
	one, stopOne := s.watchUntil(cluster.Admin)
	two := s.watch(cluster.Admin)
	_, resign := s.lead(one)
	awaitSynced(t, one)
	awaitSynced(t, two)
	ended, forced := s.holder("leaders-1"), s.holder("leaders-2")
	for _, p := range []*core.Pod{ended, forced} {
		eventually(t, func() bool { return s.allocation(p).GetNode() != "" }, "it should be seen")
	}
	resign()
	stopOne()
	s.remove(ended, 30)
	s.end(ended)
	s.remove(forced, 0)
	_, err := s.client.Pods("leaders-1").Get(t.Context(), ended.Name, metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err), "%v", err)
	eventually(t, func() bool { return two.Status().Pods >= 0 }, "")

	in := s.begin()
	lost := atomic.Bool{}
	in.lose = func(*fsmpb.Command) bool { return !lost.Swap(true) } // the first answer is lost
	s.leadIn(two, in)
	s.awaitProof(ended, terminated)
	s.awaitRest(t, forced, testimony.CodeForceDeleted)
	s.requireNothingNew(forced)
	before := in.count.Load()
	s.requireNothingNew(forced)
	require.LessOrEqual(t, in.count.Load()-before, int64(4), "what is known is not proposed again: %d", in.count.Load()-before)
	require.NoError(t, s.View().Check())
}

// testAbandoned deletes pods that wait for keys: their requests are taken back, unless
// another pod of the name is there to take them over.
func testAbandoned(t *testing.T, cluster *kubetest.Cluster) {
	t.Helper()
	s := &scene{state: newState(t, 60), kube: newKube(t, cluster), t: t}
	w := s.watch(cluster.Admin, func(c *Config) { c.withdrawAfter = 1500 * time.Millisecond })
	s.lead(w)
	awaitSynced(t, w)
	for _, ns := range []string{"abandoned", "taken-over"} {
		holder := s.holder(ns)
		s.remove(holder, 0)
		s.awaitRest(t, holder, testimony.CodeForceDeleted)
		next := s.run(ns, "validator-0")
		s.allocate(next, 2)
		require.True(t, s.View().Request(ns, "validator-0").GetBlocked())
		s.remove(next, 0)
	}
	s.run("taken-over", "validator-0")
	eventually(t, func() bool { return s.View().Request("abandoned", "validator-0") == nil }, "it should be taken back")
	require.NotNil(t, s.View().Allocation("abandoned", "validator-0"), "the keys rest as before")
	s.requireNothingNew(&core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "taken-over", Name: "validator-0", UID: types.UID(s.View().Allocation("taken-over", "validator-0").GetPod().GetUid())}})
	require.NotNil(t, s.View().Request("taken-over", "validator-0"))
	require.NoError(t, s.View().Check())
}

// testMachineIsBack lets a machine come back while nodes can not be watched: what was seen
// of it is old, and no proof.
func testMachineIsBack(t *testing.T, cluster *kubetest.Cluster) {
	t.Helper()
	s := &scene{state: newState(t, 60), kube: newKube(t, cluster), t: t}
	s.node("back", core.ConditionUnknown, core.TaintNodeOutOfService)
	var deaf atomic.Bool
	w := s.watch(cluster.Admin, func(c *Config) {
		c.wrap = func(next http.RoundTripper) http.RoundTripper {
			return roundTrip(func(r *http.Request) (*http.Response, error) {
				answer, err := next.RoundTrip(r)
				if err == nil && r.URL.Path == "/api/v1/nodes" && r.URL.Query().Get("watch") != "" {
					answer.Body = &mutable{ReadCloser: answer.Body, deaf: &deaf}
				}
				return answer, err
			})
		}
	})
	s.lead(w)
	awaitSynced(t, w)
	pod := s.holder("machine-is-back", on("back"))
	eventually(t, func() bool { return s.allocation(pod).GetNode() != "" }, "it should be seen")
	deaf.Store(true)
	s.node("back", core.ConditionTrue)
	s.remove(pod, 30)
	s.requireNothingNew(pod)
	eventually(t, func() bool {
		w.mu.RLock()
		defer w.mu.RUnlock()
		return w.machines["back"].Ready
	}, "the machine should have been asked for")
	s.requireHeld(t, pod)
	deaf.Store(false)
	s.end(pod)
	s.awaitProof(pod, terminated)
}

// mutable is the answer to a watch that may say nothing more.
type mutable struct {
	io.ReadCloser
	deaf *atomic.Bool
}

// Read implements io.Reader.
func (m *mutable) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	for m.deaf.Load() && err == nil {
		<-time.After(glance)
	}
	return n, err //nolint:wrapcheck // a test
}
