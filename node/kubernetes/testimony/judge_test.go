package testimony

import (
	"testing"

	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func phaseOf(phase core.PodPhase) func(*core.Pod) {
	return func(p *core.Pod) { p.Status.Phase = phase }
}

func byCollector(p *core.Pod) {
	p.Status.Phase = core.PodFailed
	p.Status.Conditions = append(p.Status.Conditions, core.PodCondition{
		Type: core.DisruptionTarget, Status: core.ConditionTrue, Reason: reasonCollected, Message: "PodGC: node no longer exists",
	})
}

func condition(reason string) func(*core.Pod) {
	return func(p *core.Pod) {
		p.Status.Conditions = []core.PodCondition{{Type: core.ContainersReady, Status: core.ConditionFalse, Reason: reason}}
	}
}

func statuses(list ...core.ContainerStatus) func(*core.Pod) {
	return func(p *core.Pod) { p.Status.ContainerStatuses = list }
}

func inits(list ...core.ContainerStatus) func(*core.Pod) {
	return func(p *core.Pod) { p.Status.InitContainerStatuses = list }
}

func nobodyLooks(p *core.Pod) {
	p.Spec.EphemeralContainers, p.Status.EphemeralContainerStatuses = nil, nil
}

func unscheduled(p *core.Pod) {
	p.Spec.NodeName, p.Status = "", core.PodStatus{Phase: core.PodPending}
}

func tolerant(p *core.Pod) {
	p.Spec.Tolerations = append(p.Spec.Tolerations, core.Toleration{Operator: core.TolerationOpExists})
}

// TestJudge goes through how pods end, and what is known of it.
func TestJudge(t *testing.T) {
	t.Parallel()
	silent := Machine{Name: machine, Known: true}
	cases := []struct {
		name     string
		presence Presence
		pod      *core.Pod
		machine  Machine
		kind     Kind
		code     string
		detail   string
	}{
		{"it runs", Present, validator(), Machine{}, Nothing, "", ""},
		{"its node is not ready", Present, validator(), silent, Nothing, "", ""},
		{"its node is out of service, and nobody deletes it", Present, validator(), off(), Nothing, "", ""},
		{"it is being deleted", Present, with(validator(), deleting), Machine{}, Ending, "", ""},
		{"it is being deleted on a node that is not ready", Present, with(validator(), deleting), silent, Ending, CodeNodeUnreachable, machine},
		{"it ended well", Present, ended(), Machine{}, Terminated, "", "on " + machine},
		{"it ended well, and its last object says so", Deleted, ended(), Machine{}, Terminated, "", ""},
		{"it ended well, and the watch broke afterwards", Gone, ended(), Machine{}, Terminated, "", ""},
		{"it ended well, and another one has its name", Replaced, ended(), Machine{}, Terminated, "", ""},
		{"it ended well, but nobody deletes it: an evicted pod", Present, with(validator(), stopped), Machine{}, Nothing, "", ""},
		{"it completed", Deleted, with(ended(), phaseOf(core.PodSucceeded), condition(reasonPodCompleted)), Machine{}, Terminated, "", ""},
		{"it is gone", Gone, nil, Machine{}, Rests, CodeGone, "nobody saw"},
		{"it is gone, and ran when it was seen last", Gone, validator(), Machine{}, Rests, CodeGone, machine},
		{"another one has its name", Replaced, nil, Machine{}, Rests, CodeReplaced, "another UID"},
		{"nobody can tell", Unknown, ended(), off(), Nothing, "", ""},
		{"it was force-deleted", Deleted, with(validator(), deleting), Machine{}, Rests, CodeForceDeleted, "by force on " + machine},
		{"it was force-deleted before it ran", Deleted, with(validator(), deleting, phaseOf(core.PodPending)), Machine{}, Rests, CodeForceDeleted, ""},
		{"collected", Present, with(validator(), deleting, byCollector), Machine{}, Rests, CodeCollected, ""},
		{"collected, last object", Deleted, with(validator(), byCollector), Machine{}, Rests, CodeCollected, ""},
		{"collected, with old statuses that look like an end", Deleted, with(ended(), byCollector), Machine{}, Rests, CodeCollected, ""},
		{
			"failed by somebody else, with old statuses of a container between two starts", Deleted,
			with(ended(), condition("ContainersNotReady")),
			Machine{},
			Rests, CodeContainerUnknown, "kubelet",
		},
		{"out of service, and being deleted", Present, with(validator(), deleting), off(), OutOfService, "", machine},
		{"out of service, and deleted by force", Deleted, with(validator(), deleting), off(), OutOfService, "", ""},
		{"out of service, and gone", Gone, validator(), off(), OutOfService, "", ""},
		{"out of service, and its node says that it is ready", Present, with(validator(), deleting), Machine{Name: machine, UID: machineUID, Known: true, OutOfService: true, Ready: true}, Ending, "", ""},
		{"out of service, and it does not mind", Deleted, with(validator(), deleting, tolerant), off(), Rests, CodeForceDeleted, ""},
		{"out of service is another machine", Deleted, with(validator(), deleting), Machine{Name: "node-2", UID: machineUID, Known: true, OutOfService: true}, Rests, CodeForceDeleted, ""},
		{"out of service is a machine that got its name", Deleted, with(validator(), deleting), Machine{Name: machine, UID: "new", Known: true, OutOfService: true}, Rests, CodeForceDeleted, ""},
		{"never bound, and deleted", Deleted, with(validator(), unscheduled, deleting), Machine{}, Terminated, "", "never bound"},
		{"never bound, and being deleted", Present, with(validator(), unscheduled, deleting), Machine{}, Ending, "", ""},
		{"never bound, and gone", Gone, with(validator(), unscheduled), Machine{}, Rests, CodeGone, ""},
		{
			"the validator never came to life: no image", Deleted,
			with(validator(), deleting, stopped, nobodyLooks, condition("ContainersNotReady"), statuses(unlocated("client"), unlocated("log"))),
			Machine{},
			Terminated, "", "",
		},
		{
			"it never got its keys: the init container failed", Deleted,
			with(validator(), deleting, stopped, nobodyLooks, condition("ContainersNotReady"),
				inits(exited("allocate", "c1", 1), waiting("hold", "PodInitializing")), statuses(waiting("client", "PodInitializing"), waiting("log", "PodInitializing"))),
			Machine{},
			Terminated, "", "",
		},
		{"one container lives", Deleted, with(ended(), statuses(exited("client", "c3", 0), running("log", "c4"))), Machine{}, Rests, CodeContainerUnknown, "container log runs"},
		{"its machine rejected it: no statuses", Deleted, with(ended(), statuses(), inits(), nobodyLooks), Machine{}, Rests, CodeContainerUnknown, "no status"},
		{"a container crash-loops", Deleted, with(ended(), func(p *core.Pod) {
			s := &p.Status.ContainerStatuses[0]
			s.State, s.LastTerminationState = core.ContainerState{Waiting: &core.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}, s.State
		}), Machine{}, Rests, CodeContainerUnknown, "client has no end"},
		{"a container that ran was forgotten by its runtime", Deleted, with(ended(), func(p *core.Pod) {
			s := unlocated("client")
			s.ContainerID = "c3"
			p.Status.ContainerStatuses[0] = s
		}), Machine{}, Rests, CodeContainerUnknown, "no longer knows"},
		{"the kubelet restarted, and the runtime forgot a container that ran", Deleted, with(ended(), func(p *core.Pod) {
			s := unlocated("client")
			s.LastTerminationState.Terminated = &core.ContainerStateTerminated{Reason: reasonUnknown, ExitCode: 137}
			p.Status.ContainerStatuses[0] = s
		}), Machine{}, Rests, CodeContainerUnknown, "no longer knows"},
		{"a machine that was switched off came back and found its containers dead", Deleted, with(ended(), func(p *core.Pod) {
			p.Status.ContainerStatuses[0].State.Terminated.Reason = "Unknown"
			p.Status.ContainerStatuses[0].State.Terminated.ExitCode = 255
		}), Machine{}, Terminated, "", ""},
		{"a static pod", Deleted, with(ended(), func(p *core.Pod) {
			p.Annotations = map[string]string{core.MirrorPodAnnotationKey: "x"}
		}), off(), Rests, CodeContainerUnknown, "static"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := Evidence{Presence: c.presence, Machine: c.machine, NodeUID: machineUID}
			if c.pod != nil {
				e.Last = Read(c.pod)
			}
			v := Judge(uid, e)
			require.Equal(t, c.kind, v.Kind, "%+v", v)
			require.Equal(t, c.code, v.Code, v.Detail)
			require.Contains(t, v.Detail, c.detail)
			require.Equal(t, c.kind == Terminated || c.kind == OutOfService, v.Kind.IsProof())
			if v.Kind == Rests {
				require.NotEmpty(t, v.Detail)
			}
		})
	}
}

// TestJudgeOthers gives evidence about other pods, which is none.
func TestJudgeOthers(t *testing.T) {
	t.Parallel()
	for _, presence := range []Presence{Unknown, Present, Deleted, Gone, Replaced} {
		v := Judge("another", Evidence{Presence: presence, Last: Read(ended()), Machine: off(), NodeUID: machineUID})
		require.False(t, v.Kind.IsProof(), "%v: %+v", presence, v)
		v = Judge("", Evidence{Presence: presence, Last: Sight{Ended: true}, Machine: off(), NodeUID: machineUID})
		require.False(t, v.Kind.IsProof(), "%v: %+v", presence, v)
	}
}

func TestReadNode(t *testing.T) {
	t.Parallel()
	node := &core.Node{ObjectMeta: metav1.ObjectMeta{Name: machine, UID: machineUID}}
	require.Equal(t, Machine{Name: machine, UID: machineUID, Known: true}, ReadNode(node))
	node.Status.Conditions = []core.NodeCondition{{Type: core.NodeReady, Status: core.ConditionUnknown}}
	node.Spec.Taints = []core.Taint{{Key: core.TaintNodeNotReady}, {Key: core.TaintNodeOutOfService, Value: "nodeshutdown", Effect: core.TaintEffectNoExecute}}
	require.Equal(t, off(), ReadNode(node))
	node.Status.Conditions[0].Status = core.ConditionTrue
	require.True(t, ReadNode(node).Ready)
}
