package pods

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/kubetest"
)

const (
	patience = 30 * time.Second
	glance   = 5 * time.Millisecond
)

var errOutcomeUnknown = errors.New("outcome unknown")

// state is a replicated state of one replica, where commands are applied at once.
type state struct {
	t       testing.TB
	machine *fsm.Machine

	mu    sync.Mutex
	index uint64
	term  uint64
	stock int
}

func newState(t testing.TB, keys int) *state {
	t.Helper()
	s := &state{t: t, machine: fsm.New()}
	s.begin()
	s.do(&fsmpb.Command{Body: &fsmpb.Command_InstallKeyring{InstallKeyring: &fsmpb.InstallKeyring{Sealed: []byte("keyring")}}})
	s.add(keys)
	return s
}

// add puts free keys into the pool.
func (s *state) add(n int) {
	s.t.Helper()
	for _, key := range s.imports(n) {
		s.do(&fsmpb.Command{Body: &fsmpb.Command_ConfirmStopped{ConfirmStopped: &fsmpb.ConfirmStopped{
			Pubkey: key, Fence: s.View().Key(key).GetFence(), Proof: &fsmpb.Proof{Kind: fsmpb.Proof_KIND_OPERATOR, By: "op"},
		}}})
	}
}

// imports puts in keys from elsewhere, which rest until somebody says that nobody else signs with them.
func (s *state) imports(n int) (keys [][]byte) {
	s.t.Helper()
	for range n {
		s.stock++
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(s.stock)))
		key := append(sum[:], sum[:fsm.PubkeyLength-len(sum)]...)
		sealed := append(binary.BigEndian.AppendUint32(nil, 1), "sealed"...)
		s.do(&fsmpb.Command{Body: &fsmpb.Command_ImportKeys{ImportKeys: &fsmpb.ImportKeys{Keys: []*fsmpb.ImportedKey{{Pubkey: key, Sealed: sealed}}}}})
		keys = append(keys, key)
	}
	return keys
}

// View returns the applied state.
func (s *state) View() *fsm.View { return s.machine.View() }

func (s *state) apply(cmd *fsmpb.Command, term uint64) fsm.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	cmd.Version, cmd.Session, cmd.WallMs = fsm.CommandVersion, term, time.Now().UnixMilli()
	if cmd.Caller == nil {
		cmd.Caller = &fsmpb.Caller{Name: "tester", Role: "admin"}
	}
	entry, err := proto.Marshal(&fsmpb.Batch{Commands: []*fsmpb.Command{cmd}})
	if err != nil {
		panic(err)
	}
	s.index++
	results, err := s.machine.Apply(s.index, s.term, entry)
	if err != nil {
		panic(err)
	}
	return results[0]
}

func (s *state) do(cmd *fsmpb.Command) any {
	s.t.Helper()
	s.mu.Lock()
	term := s.term
	s.mu.Unlock()
	res := s.apply(cmd, term)
	require.NoError(s.t, res.Err())
	return res.Value
}

// begin opens the session of a new leader; all earlier ones are over then.
func (s *state) begin() *session {
	s.t.Helper()
	s.mu.Lock()
	s.term++
	in := &session{state: s, term: s.term}
	s.mu.Unlock()
	s.do(&fsmpb.Command{Body: &fsmpb.Command_BeginSession{BeginSession: &fsmpb.BeginSession{NodeId: "n", NewClusterId: "c"}}})
	return in
}

// tick lets cluster time pass.
func (s *state) tick(d time.Duration) {
	s.t.Helper()
	s.do(&fsmpb.Command{Body: &fsmpb.Command_Tick{Tick: &fsmpb.Tick{ElapsedMs: uint64(d.Milliseconds())}}})
}

// allocate asks for keys for a pod.
func (s *state) allocate(pod *core.Pod, keys uint32) {
	s.t.Helper()
	s.do(&fsmpb.Command{Body: &fsmpb.Command_Allocate{Allocate: &fsmpb.Allocate{
		Pod: &fsmpb.Pod{Namespace: pod.Namespace, Name: pod.Name, Uid: string(pod.UID)}, Keys: keys, PoolOnly: true,
	}}})
}

func (s *state) allocation(pod *core.Pod) *fsmpb.Allocation {
	if a := s.View().Allocation(pod.Namespace, pod.Name); a.GetPod().GetUid() == string(pod.UID) {
		return a
	}
	return nil
}

// session is a leadership; lose says which proposals are applied and not answered.
type session struct {
	*state
	term  uint64
	lose  func(*fsmpb.Command) bool
	count atomic.Int64 // of proposals
}

// Propose implements Session.
func (s *session) Propose(ctx context.Context, cmd *fsmpb.Command) (any, error) {
	s.count.Add(1)
	if ctx.Err() != nil {
		return nil, errOutcomeUnknown
	}
	res := s.apply(cmd, s.term)
	if s.lose != nil && s.lose(cmd) {
		return nil, errOutcomeUnknown
	}
	return res.Value, res.Err()
}

// watch runs a watcher until the test ends.
func (s *state) watch(kube *rest.Config, changes ...func(*Config)) *Watcher {
	s.t.Helper()
	w, _ := s.watchUntil(kube, changes...)
	return w
}

func (s *state) watchUntil(kube *rest.Config, changes ...func(*Config)) (w *Watcher, stop func()) {
	s.t.Helper()
	cfg := Config{
		Kubernetes: kube, View: s.View, Node: "n", RestAfterProof: time.Minute,
		RetryMin: 20 * time.Millisecond, RetryMax: 300 * time.Millisecond, Metrics: prometheus.NewRegistry(),
	}
	if testing.Verbose() && os.Getenv("DUTY_LOG") != "" {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("test", s.t.Name())
	}
	for _, change := range changes {
		change(&cfg)
	}
	w, err := New(cfg)
	require.NoError(s.t, err)
	return w, running(s.t, w.Run)
}

// running runs something until stop is called or the test ends.
func running(t testing.TB, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			require.NoError(t, err)
		case <-time.After(patience):
			require.Fail(t, "it does not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

// lead runs the duty in a new session until stop is called or the test ends.
func (s *state) lead(w *Watcher) (in *session, stop func()) {
	s.t.Helper()
	in = s.begin()
	return in, s.leadIn(w, in)
}

func (s *state) leadIn(w *Watcher, in *session) (stop func()) {
	s.t.Helper()
	return running(s.t, func(ctx context.Context) error { return w.Duty().Run(ctx, in) })
}

// kube is a Kubernetes as a kubelet, a controller or a person sees it.
type kube struct {
	t      testing.TB
	client coreclient.CoreV1Interface
}

func newKube(t testing.TB, c *kubetest.Cluster) *kube {
	t.Helper()
	config := *c.Admin
	config.QPS = -1
	client, err := coreclient.NewForConfig(&config)
	require.NoError(t, err)
	return &kube{t, client}
}

// run creates a pod on a machine, and lets it run.
func (k *kube) run(namespace, name string, changes ...func(*core.Pod)) *core.Pod {
	k.t.Helper()
	pod := k.create(namespace, name, changes...)
	pod.Status = core.PodStatus{
		Phase:      core.PodRunning,
		Conditions: []core.PodCondition{{Type: core.ContainersReady, Status: core.ConditionTrue}, {Type: core.PodReady, Status: core.ConditionTrue}},
	}
	for i, c := range pod.Spec.Containers {
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, core.ContainerStatus{
			Name: c.Name, ContainerID: fmt.Sprintf("containerd://%d", i), ImageID: "sha256:1", Image: c.Image, Ready: true,
			State: core.ContainerState{Running: &core.ContainerStateRunning{StartedAt: metav1.Now()}},
		})
	}
	return k.report(pod)
}

func (k *kube) create(namespace, name string, changes ...func(*core.Pod)) *core.Pod {
	k.t.Helper()
	ctx := context.Background()
	_, err := k.client.Namespaces().Create(ctx, &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	require.True(k.t, err == nil || apierrors.IsAlreadyExists(err), "%v", err)
	_, err = k.client.ServiceAccounts(namespace).Create(ctx, &core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	require.True(k.t, err == nil || apierrors.IsAlreadyExists(err), "%v", err)
	no := false
	pod := &core.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: core.PodSpec{
			NodeName: "machine", AutomountServiceAccountToken: &no,
			Containers: []core.Container{{Name: "client", Image: "none"}, {Name: "log", Image: "none"}},
		},
	}
	for _, change := range changes {
		change(pod)
	}
	pod, err = k.client.Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
	require.NoError(k.t, err)
	return pod
}

// report writes a status as a kubelet does.
func (k *kube) report(pod *core.Pod) *core.Pod {
	k.t.Helper()
	now, err := k.client.Pods(pod.Namespace).UpdateStatus(context.Background(), pod, metav1.UpdateOptions{})
	require.NoError(k.t, err)
	return now
}

// remove deletes a pod, and by force if no grace is given.
func (k *kube) remove(pod *core.Pod, grace int64) {
	k.t.Helper()
	uid := pod.UID
	require.NoError(k.t, k.client.Pods(pod.Namespace).Delete(context.Background(), pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &grace, Preconditions: &metav1.Preconditions{UID: &uid},
	}))
}

func (k *kube) get(pod *core.Pod) *core.Pod {
	k.t.Helper()
	now, err := k.client.Pods(pod.Namespace).Get(context.Background(), pod.Name, metav1.GetOptions{})
	require.NoError(k.t, err)
	return now
}

// stopped is the status of a pod whose containers its kubelet stopped.
func stopped(pod *core.Pod) *core.Pod {
	pod.Status.Phase = core.PodFailed
	pod.Status.Conditions = []core.PodCondition{
		{Type: core.ContainersReady, Status: core.ConditionFalse, Reason: "PodFailed"}, {Type: core.PodReady, Status: core.ConditionFalse, Reason: "PodFailed"},
	}
	for i := range pod.Status.ContainerStatuses {
		s := &pod.Status.ContainerStatuses[i]
		s.Ready = false
		s.State = core.ContainerState{Terminated: &core.ContainerStateTerminated{
			ContainerID: s.ContainerID, ExitCode: 143, Reason: "Error", StartedAt: metav1.Now(), FinishedAt: metav1.Now(),
		}}
	}
	return pod
}

// end lets a pod that is being deleted end as its kubelet does.
func (k *kube) end(pod *core.Pod) {
	k.t.Helper()
	k.report(stopped(k.get(pod)))
	k.remove(pod, 0)
}

// events are the reasons of the Events on a pod.
func (k *kube) events(pod *core.Pod) map[string]string {
	list, err := k.client.Events(pod.Namespace).List(context.Background(), metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(pod.UID)})
	if err != nil {
		return nil
	}
	reasons := make(map[string]string)
	for _, e := range list.Items {
		reasons[e.Reason] = e.Message
	}
	return reasons
}

// node makes a machine, ready or not, with taints.
func (k *kube) node(name string, ready core.ConditionStatus, taints ...string) {
	k.t.Helper()
	ctx := context.Background()
	node, err := k.client.Nodes().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		node, err = k.client.Nodes().Create(ctx, &core.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	}
	require.NoError(k.t, err)
	node.Spec.Taints = nil
	for _, t := range taints {
		node.Spec.Taints = append(node.Spec.Taints, core.Taint{Key: t, Value: "nodeshutdown", Effect: core.TaintEffectNoExecute})
	}
	node, err = k.client.Nodes().Update(ctx, node, metav1.UpdateOptions{})
	require.NoError(k.t, err)
	node.Status.Conditions = []core.NodeCondition{{Type: core.NodeReady, Status: ready}}
	_, err = k.client.Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
	require.NoError(k.t, err)
}

func eventually(t testing.TB, done func() bool, format string, args ...any) {
	t.Helper()
	require.Eventuallyf(t, done, patience, glance, format, args...)
}

func (s *state) awaitProof(pod *core.Pod, kind fsmpb.Proof_Kind) {
	s.t.Helper()
	eventually(s.t, func() bool { return s.allocation(pod).GetProof().GetKind() == kind }, "%s/%s should be proven by %v", pod.Namespace, pod.Name, kind)
}

func (s *state) awaitRest(t testing.TB, pod *core.Pod, code string) {
	t.Helper()
	eventually(t, func() bool {
		a := s.allocation(pod)
		return a.GetState() == fsmpb.AllocationState_ALLOCATION_STATE_RESTING && a.GetCode() == code
	}, "%s/%s should rest with %s", pod.Namespace, pod.Name, code)
	require.Nil(t, s.allocation(pod).GetProof())
}

func (s *state) requireHeld(t testing.TB, pod *core.Pod) {
	t.Helper()
	require.Equal(t, fsmpb.AllocationState_ALLOCATION_STATE_HELD, s.allocation(pod).GetState())
}

// roundTrip is a function between a watcher and Kubernetes.
type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func awaitSynced(t testing.TB, w *Watcher) {
	t.Helper()
	eventually(t, func() bool { return w.Status().Code == "" }, "the watcher should follow")
}
