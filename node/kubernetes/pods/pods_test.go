package pods

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/kubetest"
	"github.com/keysteward/keysteward/node/kubernetes/testimony"
)

const (
	terminated   = fsmpb.Proof_KIND_POD_TERMINATED
	outOfService = fsmpb.Proof_KIND_OUT_OF_SERVICE
)

// TestPods lets pods come and go in a real Kubernetes whose kubelets are the test.
func TestPods(t *testing.T) {
	t.Parallel()
	cluster := kubetest.Start(t)
	state := newState(t, 4*len(ways))
	w := state.watch(cluster.Admin)
	state.lead(w)
	awaitSynced(t, w)
	n := 0
	for name, way := range ways {
		n++
		ns := fmt.Sprintf("ns-%d", n)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			way(&scene{state: state, kube: newKube(t, cluster), t: t}, ns)
		})
	}
	for name, test := range map[string]func(*testing.T, *kubetest.Cluster){
		"lists nothing": testContradiction, "permissions": testForbidden, "namespaces": testNamespaces, "leaders": testLeaders, "a machine is back": testMachineIsBack, "abandoned requests": testAbandoned,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, cluster)
		})
	}
}

// scene is a state, a leader and a Kubernetes with pods of one test.
type scene struct {
	*state
	*kube
	t         testing.TB
	sentinels int
}

func (s *scene) holder(namespace string, changes ...func(*core.Pod)) *core.Pod {
	s.t.Helper()
	pod := s.run(namespace, "validator-0", changes...)
	s.allocate(pod, 2)
	return pod
}

func on(node string) func(*core.Pod) { return func(p *core.Pod) { p.Spec.NodeName = node } }

var ways = map[string]func(*scene, string){
	"a pod that ended well": func(s *scene, ns string) {
		pod := s.holder(ns)
		eventually(s.t, func() bool { return s.allocation(pod).GetNode() == "machine" }, "its machine should be known")
		require.NotEmpty(s.t, s.allocation(pod).GetKubernetesUid())
		s.remove(pod, 30)
		s.report(s.get(pod)) // a word of the kubelet while it ends
		s.requireHeld(s.t, pod)
		s.end(pod)
		s.awaitProof(pod, terminated)
		require.Equal(s.t, uint64(time.Minute.Milliseconds()), s.allocation(pod).GetFreeAtMs()-s.View().Meta().GetClusterTimeMs())
		eventually(s.t, func() bool { return s.events(pod)[EventKeysProven] != "" }, "an Event should say so")
	},
	"a pod of which nothing but the last object shows its end": func(s *scene, ns string) {
		pod := s.holder(ns)
		s.report(stopped(s.get(pod))) // evicted: terminal, and nobody deletes it
		s.requireHeld(s.t, pod)
		s.remove(pod, 30) // the API server deletes what is terminal at once
		s.awaitProof(pod, terminated)
	},
	"a validator that never came to life": func(s *scene, ns string) {
		pod := s.holder(ns)
		pod = s.get(pod)
		pod.Status.Phase = core.PodPending
		pod.Status.Conditions = []core.PodCondition{{Type: core.ContainersReady, Status: core.ConditionFalse, Reason: "ContainersNotReady"}}
		pod.Status.ContainerStatuses = nil
		for _, c := range pod.Spec.Containers {
			pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, core.ContainerStatus{
				Name: c.Name, State: core.ContainerState{Waiting: &core.ContainerStateWaiting{Reason: "ImagePullBackOff"}},
			})
		}
		pod = s.report(pod)
		s.remove(pod, 30)
		pod = s.get(pod)
		pod.Status.Phase = core.PodFailed
		for i := range pod.Status.ContainerStatuses {
			pod.Status.ContainerStatuses[i].State = core.ContainerState{Terminated: &core.ContainerStateTerminated{Reason: "ContainerStatusUnknown", ExitCode: 137}}
		}
		s.report(pod)
		s.remove(pod, 0)
		s.awaitProof(pod, terminated)
	},
	"a pod that was never bound": func(s *scene, ns string) {
		pod := s.create(ns, "validator-0", on(""))
		s.allocate(pod, 2)
		s.remove(pod, 30)
		s.awaitProof(pod, terminated)
	},
	"force-deleted": func(s *scene, ns string) {
		pod := s.holder(ns)
		eventually(s.t, func() bool { return s.allocation(pod).GetNode() != "" }, "it should be seen")
		s.remove(pod, 0)
		s.awaitRest(s.t, pod, testimony.CodeForceDeleted)
		next := s.run(ns, "validator-0")
		s.allocate(next, 2)
		eventually(s.t, func() bool { return s.events(pod)[EventKeysRest] != "" && s.events(next)[EventKeysWaiting] != "" }, "both pods should be told")
		require.Contains(s.t, s.events(pod)[EventKeysRest], "--confirm-stopped")
		require.Contains(s.t, s.events(next)[EventKeysWaiting], string(pod.UID))
		s.requireNothingNew(pod)
		require.Equal(s.t, testimony.CodeForceDeleted, s.allocation(pod).GetCode(), "a reason gives way to no other one that says less")
	},
	"removed by the pod garbage collector": func(s *scene, ns string) {
		pod := s.holder(ns)
		pod = s.get(pod)
		pod.Status.Phase = core.PodFailed
		pod.Status.Conditions = append(pod.Status.Conditions, core.PodCondition{
			Type: core.DisruptionTarget, Status: core.ConditionTrue, Reason: "DeletionByPodGC", Message: "PodGC: node no longer exists",
		})
		s.report(pod)
		s.remove(pod, 0)
		s.awaitRest(s.t, pod, testimony.CodeCollected)
		eventually(s.t, func() bool { return s.events(pod)[EventKeysRest] != "" }, "an Event should say so")
		require.NotContains(s.t, s.events(pod)[EventKeysRest], "taint", "nobody can taint what is not there")
	},
	"a container of which nobody knows how it ended": func(s *scene, ns string) {
		pod := s.holder(ns)
		s.remove(pod, 30)
		pod = stopped(s.get(pod))
		pod.Status.ContainerStatuses[1].State.Terminated.Reason = "ContainerStatusUnknown"
		s.report(pod)
		s.awaitRest(s.t, pod, testimony.CodeContainerUnknown)
		s.remove(pod, 0)
		s.requireNothingNew(pod)
	},
	"a machine that is not ready and comes back": func(s *scene, ns string) {
		s.node(ns, core.ConditionTrue)
		pod := s.holder(ns, on(ns))
		s.awaitMachine(pod)
		s.node(ns, core.ConditionUnknown, core.TaintNodeUnreachable)
		s.remove(pod, 30)
		eventually(s.t, func() bool { return s.events(pod)[EventKeysHeld] != "" }, "an Event should say what it waits for")
		require.Contains(s.t, s.events(pod)[EventKeysHeld], "out-of-service on the node "+ns)
		s.requireHeld(s.t, pod)
		eventually(s.t, func() bool { return s.allocation(pod).GetCode() == testimony.CodeNodeUnreachable }, "the state should say so, too")
		s.node(ns, core.ConditionTrue)
		eventually(s.t, func() bool { return s.allocation(pod).GetCode() == "" }, "it is over")
		s.node(ns, core.ConditionUnknown, core.TaintNodeUnreachable)
		eventually(s.t, func() bool { return s.allocation(pod).GetCode() == testimony.CodeNodeUnreachable }, "again")
		s.node(ns, core.ConditionTrue)
		s.end(pod)
		s.awaitProof(pod, terminated)
	},
	"a machine that is out of service": func(s *scene, ns string) {
		s.node(ns, core.ConditionTrue)
		pod := s.holder(ns, on(ns))
		s.awaitMachine(pod)
		s.node(ns, core.ConditionUnknown, core.TaintNodeUnreachable, core.TaintNodeOutOfService)
		s.requireNothingNew(pod)
		s.requireHeld(s.t, pod)
		s.remove(pod, 30)
		s.awaitProof(pod, outOfService)
	},
	"force-deleted, and then its machine is put out of service": func(s *scene, ns string) {
		s.node(ns, core.ConditionUnknown)
		pod := s.holder(ns, on(ns))
		s.awaitMachine(pod)
		s.remove(pod, 0)
		s.awaitRest(s.t, pod, testimony.CodeForceDeleted)
		s.node(ns, core.ConditionUnknown, core.TaintNodeOutOfService)
		s.awaitProof(pod, outOfService)
	},
	"force-deleted, and another machine that got the name is put out of service": func(s *scene, ns string) {
		s.node(ns, core.ConditionUnknown)
		pod := s.holder(ns, on(ns))
		s.awaitMachine(pod)
		s.remove(pod, 0)
		s.awaitRest(s.t, pod, testimony.CodeForceDeleted)
		require.NoError(s.t, s.client.Nodes().Delete(context.Background(), ns, metav1.DeleteOptions{}))
		s.node(ns, core.ConditionUnknown, core.TaintNodeOutOfService)
		s.requireNothingNew(pod)
		require.NotEqual(s.t, s.nodeUID(ns), s.allocation(pod).GetNodeUid())
		next := s.run(ns, "validator-1", on(ns))
		s.allocate(next, 1)
		eventually(s.t, func() bool { return s.allocation(next).GetNodeUid() == s.nodeUID(ns) }, "a pod of the new machine should be recorded there")
		s.remove(next, 30)
		s.awaitProof(next, outOfService) // so the taint has been looked at
		s.requireNothingNew(pod)
	},
	"a pod that does not mind that its machine is out of service": func(s *scene, ns string) {
		s.node(ns, core.ConditionUnknown, core.TaintNodeOutOfService)
		pod := s.holder(ns, on(ns), func(p *core.Pod) {
			p.Spec.Tolerations = []core.Toleration{{Operator: core.TolerationOpExists}}
		})
		s.remove(pod, 0)
		s.awaitRest(s.t, pod, testimony.CodeForceDeleted)
		s.requireNothingNew(pod)
	},
	"released while it runs": func(s *scene, ns string) {
		pod := s.holder(ns)
		s.do(&fsmpb.Command{Body: &fsmpb.Command_Release{Release: &fsmpb.Release{
			Namespace: ns, Pod: pod.Name, PodUid: string(pod.UID), Fence: s.allocation(pod).GetFence(), Code: testimony.CodeReleased,
		}}})
		s.awaitRest(s.t, pod, testimony.CodeReleased)
		s.requireNothingNew(pod)
		eventually(s.t, func() bool { return s.events(pod)[EventKeysRest] != "" }, "an Event should say so")
		require.Contains(s.t, s.events(pod)[EventKeysRest], "kubectl delete pod -n "+ns+" validator-0")
		s.remove(pod, 30)
		s.end(pod)
		s.awaitProof(pod, terminated)
	},
	"a pod that nobody ever saw": func(s *scene, ns string) {
		pod := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "validator-0", UID: "never-there"}}
		s.allocate(pod, 2)
		s.awaitRest(s.t, pod, testimony.CodeGone)
		next := s.run(ns, "validator-0")
		s.requireNothingNew(pod)
		require.NotEqual(s.t, pod.UID, next.UID)
	},
	"another one has the name": func(s *scene, ns string) {
		next := s.run(ns, "validator-0")
		pod := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "validator-0", UID: "earlier"}}
		s.allocate(pod, 2)
		s.awaitRest(s.t, pod, testimony.CodeReplaced)
		require.NotEqual(s.t, pod.UID, next.UID)
	},
	"its lease runs out": func(s *scene, ns string) {
		pod := s.holder(ns)
		s.do(&fsmpb.Command{Body: &fsmpb.Command_RenewLease{RenewLease: &fsmpb.RenewLease{
			Pod: &fsmpb.Pod{Namespace: ns, Name: pod.Name, Uid: string(pod.UID)}, DurationMs: 1000, WaitMs: 1 << 40,
		}}})
		eventually(s.t, func() bool { return s.allocation(pod).GetNode() != "" }, "it should be seen")
		s.tick(2 * time.Second)
		eventually(s.t, func() bool { return s.events(pod)[EventLeaseRanOut] != "" }, "an Event should say so")
		require.Contains(s.t, s.events(pod)[EventLeaseRanOut], "kubectl delete pod -n "+ns+" validator-0")
	},
}

// requireNothingNew sees that what happened so far brings about nothing more: another pod's
// end, which comes later on the same watch, is in the state, and so all was looked at.
func (s *scene) requireNothingNew(pod *core.Pod) {
	s.t.Helper()
	before := s.allocation(pod)
	s.sentinels++
	other := s.run(pod.Namespace, fmt.Sprintf("sentinel-%d", s.sentinels), on("another"))
	s.allocate(other, 1)
	s.remove(other, 30)
	s.end(other)
	s.awaitProof(other, terminated)
	now := s.allocation(pod)
	require.Nil(s.t, now.GetProof())
	require.Equal(s.t, before.GetCode(), now.GetCode())
	require.Equal(s.t, before.GetState(), now.GetState())
}

// nodeUID is the UID of the object of a machine.
func (k *kube) nodeUID(name string) string {
	k.t.Helper()
	node, err := k.client.Nodes().Get(context.Background(), name, metav1.GetOptions{})
	require.NoError(k.t, err)
	return string(node.UID)
}

// awaitMachine waits until it is on record on which machine a pod is.
func (s *scene) awaitMachine(pod *core.Pod) {
	s.t.Helper()
	uid := s.nodeUID(pod.Spec.NodeName)
	eventually(s.t, func() bool { return s.allocation(pod).GetNodeUid() == uid }, "the machine of %s/%s should be on record", pod.Namespace, pod.Name)
}
