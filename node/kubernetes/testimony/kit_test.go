package testimony

import (
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	uid        = "6c8f-uid"
	machine    = "node-1"
	machineUID = "6c8f-node"
)

var at = metav1.NewTime(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))

func exited(name, id string, code int32) core.ContainerStatus {
	return core.ContainerStatus{
		Name: name, ContainerID: id, ImageID: "sha256:1", RestartCount: 2,
		State: core.ContainerState{Terminated: &core.ContainerStateTerminated{
			ExitCode: code, ContainerID: id, StartedAt: at, FinishedAt: at, Reason: "Completed",
		}},
		LastTerminationState: core.ContainerState{Terminated: &core.ContainerStateTerminated{ContainerID: "old"}},
	}
}

func running(name, id string) core.ContainerStatus {
	yes := true
	return core.ContainerStatus{
		Name: name, ContainerID: id, ImageID: "sha256:1", Ready: true, Started: &yes,
		State: core.ContainerState{Running: &core.ContainerStateRunning{StartedAt: at}},
	}
}

func waiting(name, reason string) core.ContainerStatus {
	return core.ContainerStatus{Name: name, State: core.ContainerState{Waiting: &core.ContainerStateWaiting{Reason: reason}}}
}

// unlocated is what the kubelet writes last of a container that the runtime does not know.
func unlocated(name string) core.ContainerStatus {
	return core.ContainerStatus{Name: name, State: core.ContainerState{Terminated: &core.ContainerStateTerminated{
		Reason: reasonUnknown, ExitCode: 137, Message: "The container could not be located when the pod was terminated",
	}}}
}

// validator is a pod as it runs: keys, a sidecar, a validator client, somebody looking.
func validator() *core.Pod {
	always := core.ContainerRestartPolicyAlways
	return &core.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "validators", Name: "validator-0", UID: types.UID(uid)},
		Spec: core.PodSpec{
			NodeName:            machine,
			RestartPolicy:       core.RestartPolicyAlways,
			InitContainers:      []core.Container{{Name: "allocate"}, {Name: "hold", RestartPolicy: &always}},
			Containers:          []core.Container{{Name: "client"}, {Name: "log"}},
			EphemeralContainers: []core.EphemeralContainer{{EphemeralContainerCommon: core.EphemeralContainerCommon{Name: "look"}}},
			Tolerations:         []core.Toleration{{Key: core.TaintNodeUnreachable, Operator: core.TolerationOpExists}},
		},
		Status: core.PodStatus{
			Phase:                      core.PodRunning,
			Conditions:                 []core.PodCondition{{Type: core.ContainersReady, Status: core.ConditionTrue}},
			InitContainerStatuses:      []core.ContainerStatus{exited("allocate", "c1", 0), running("hold", "c2")},
			ContainerStatuses:          []core.ContainerStatus{running("client", "c3"), running("log", "c4")},
			EphemeralContainerStatuses: []core.ContainerStatus{running("look", "c5")},
		},
	}
}

// with is a pod after changes.
func with(pod *core.Pod, changes ...func(*core.Pod)) *core.Pod {
	for _, change := range changes {
		change(pod)
	}
	return pod
}

func deleting(p *core.Pod) {
	grace := int64(30)
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &at, &grace
}

// stopped is what the kubelet makes of a pod whose containers it stopped.
func stopped(p *core.Pod) {
	p.Status.Phase = core.PodFailed
	p.Status.Conditions = []core.PodCondition{{Type: core.ContainersReady, Status: core.ConditionFalse, Reason: reasonPodFailed}}
	for _, list := range [][]core.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses} {
		for i := range list {
			list[i] = exited(list[i].Name, list[i].ContainerID, 143)
		}
	}
}

// ended is the pod as it is proven to have ended.
func ended() *core.Pod { return with(validator(), deleting, stopped) }

func off() Machine { return Machine{Name: machine, UID: machineUID, Known: true, OutOfService: true} }
