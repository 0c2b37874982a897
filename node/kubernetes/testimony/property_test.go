package testimony

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

// drawPod is a pod in any state, most of them senseless.
func drawPod(t *rapid.T) *core.Pod {
	p := &core.Pod{}
	p.UID = types.UID(rapid.SampledFrom([]string{uid, uid, uid, "", "other"}).Draw(t, "uid"))
	p.Spec.NodeName = rapid.SampledFrom([]string{machine, machine, ""}).Draw(t, "node")
	if rapid.IntRange(0, 3).Draw(t, "deleting") > 0 {
		deleting(p)
	}
	p.Status.Phase = rapid.SampledFrom([]core.PodPhase{core.PodFailed, core.PodSucceeded, core.PodRunning, core.PodPending, core.PodUnknown, ""}).Draw(t, "phase")
	p.Status.Conditions = []core.PodCondition{{
		Type: core.ContainersReady, Status: core.ConditionFalse, Reason: rapid.SampledFrom([]string{reasonPodFailed, reasonPodCompleted, "ContainersNotReady"}).Draw(t, "ready"),
	}}
	list := func(label string) (statuses []core.ContainerStatus, names []string) {
		for i := range rapid.IntRange(0, 2).Draw(t, label) {
			name := fmt.Sprint(label, i)
			names = append(names, name)
			switch rapid.IntRange(0, 7).Draw(t, name) {
			case 0:
				statuses = append(statuses, running(name, name))
			case 1:
				statuses = append(statuses, waiting(name, "ContainerCreating"))
			case 2:
				statuses = append(statuses, unlocated(name))
			case 3:
			default:
				statuses = append(statuses, exited(name, name, 0))
			}
		}
		return statuses, names
	}
	var names []string
	if p.Status.InitContainerStatuses, names = list("i"); true {
		for _, n := range names {
			p.Spec.InitContainers = append(p.Spec.InitContainers, core.Container{Name: n})
		}
	}
	if p.Status.ContainerStatuses, names = list("c"); true {
		for _, n := range names {
			p.Spec.Containers = append(p.Spec.Containers, core.Container{Name: n})
		}
	}
	if p.Status.EphemeralContainerStatuses, names = list("e"); true {
		for _, n := range names {
			p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, core.EphemeralContainer{EphemeralContainerCommon: core.EphemeralContainerCommon{Name: n}})
		}
	}
	return p
}

// TestProofNeeds says once more, in another way, what proof of termination needs.
func TestProofNeeds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawPod(t)
		presence := Presence(rapid.IntRange(int(Unknown), int(Replaced)).Draw(t, "presence"))
		v := Judge(uid, Evidence{Presence: presence, Last: Read(p)})
		if v.Kind != Terminated {
			require.NotEqual(t, OutOfService, v.Kind)
			return
		}
		require.Equal(t, uid, string(p.UID))
		require.NotNil(t, p.DeletionTimestamp)
		require.NotEqual(t, Unknown, presence)
		if p.Spec.NodeName == "" {
			require.Equal(t, Deleted, presence)
			require.Empty(t, p.Status.ContainerStatuses)
			return
		}
		require.Contains(t, []core.PodPhase{core.PodFailed, core.PodSucceeded}, p.Status.Phase)
		all := append(append(append([]core.ContainerStatus{}, p.Status.InitContainerStatuses...), p.Status.ContainerStatuses...), p.Status.EphemeralContainerStatuses...)
		require.Len(t, all, len(p.Spec.InitContainers)+len(p.Spec.Containers)+len(p.Spec.EphemeralContainers))
		for _, s := range all {
			require.Nil(t, s.State.Running)
			require.True(t, s.State.Terminated != nil || s.ContainerID == "")
		}
	})
}

// doubts are changes of one field each that make an end doubtful.
func doubts() map[string]func(*core.Pod) {
	list := map[string]func(*core.Pod){
		"uid":       func(p *core.Pod) { p.UID = "other" },
		"deletion":  func(p *core.Pod) { p.DeletionTimestamp = nil },
		"running":   phaseOf(core.PodRunning),
		"pending":   phaseOf(core.PodPending),
		"unknown":   phaseOf(core.PodUnknown),
		"new phase": phaseOf("Ended"),
		"no phase":  phaseOf(""),
		"node":      func(p *core.Pod) { p.Spec.NodeName = "" },
		"mirror":    func(p *core.Pod) { p.Annotations = map[string]string{core.MirrorPodAnnotationKey: ""} },
		"collector": byCollector,
		"word":      condition("ContainersNotReady"),
		"ready":     func(p *core.Pod) { p.Status.Conditions[0].Status = core.ConditionTrue },
		"condition": func(p *core.Pod) { p.Status.Conditions = nil },
		"container": func(p *core.Pod) { p.Spec.Containers = append(p.Spec.Containers, core.Container{Name: "more"}) },
		"another status": func(p *core.Pod) {
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, exited("other", "c9", 0))
		},
		"twice": func(p *core.Pod) {
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, running("client", "c9"))
		},
		"renamed": func(p *core.Pod) { p.Spec.InitContainers[0].Name = "renamed" },
	}
	of := map[string]func(*core.Pod) []core.ContainerStatus{
		"init":      func(p *core.Pod) []core.ContainerStatus { return p.Status.InitContainerStatuses },
		"sidecar":   func(p *core.Pod) []core.ContainerStatus { return p.Status.InitContainerStatuses[1:] },
		"regular":   func(p *core.Pod) []core.ContainerStatus { return p.Status.ContainerStatuses },
		"ephemeral": func(p *core.Pod) []core.ContainerStatus { return p.Status.EphemeralContainerStatuses },
	}
	for kind, get := range of {
		for what, change := range map[string]func(*core.ContainerStatus){
			"runs":         func(s *core.ContainerStatus) { s.State.Running = &core.ContainerStateRunning{} },
			"waits":        func(s *core.ContainerStatus) { s.State.Waiting = &core.ContainerStateWaiting{} },
			"no end":       func(s *core.ContainerStatus) { s.State.Terminated = nil },
			"unknown":      func(s *core.ContainerStatus) { s.State.Terminated.Reason = reasonUnknown },
			"another one":  func(s *core.ContainerStatus) { s.ContainerID = "another" },
			"other end":    func(s *core.ContainerStatus) { s.State.Terminated.ContainerID = "another" },
			"nobody's end": func(s *core.ContainerStatus) { s.State.Terminated.ContainerID = "" },
			"no time":      func(s *core.ContainerStatus) { s.State.Terminated.FinishedAt.Reset() },
			"name":         func(s *core.ContainerStatus) { s.Name = "else" },
		} {
			list[kind+" "+what] = func(p *core.Pod) { change(&get(p)[0]) }
		}
	}
	return list
}

// TestDoubt takes one thing away from a pod that is proven to have ended.
func TestDoubt(t *testing.T) {
	t.Parallel()
	require.Equal(t, Terminated, Judge(uid, Evidence{Presence: Present, Last: Read(ended())}).Kind)
	for name, change := range doubts() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, presence := range []Presence{Present, Deleted, Gone, Replaced} {
				v := Judge(uid, Evidence{Presence: presence, Last: Read(with(ended(), change))})
				require.False(t, v.Kind.IsProof(), "%+v", v)
			}
		})
	}
}

// TestOutOfServiceNeeds takes one thing away from a pod whose machine is off.
func TestOutOfServiceNeeds(t *testing.T) {
	t.Parallel()
	good := Evidence{Presence: Deleted, Last: Read(with(validator(), deleting)), Machine: off(), NodeUID: machineUID}
	require.Equal(t, OutOfService, Judge(uid, good).Kind)
	for name, change := range map[string]func(*Evidence){
		"taint":      func(e *Evidence) { e.Machine.OutOfService = false },
		"ready":      func(e *Evidence) { e.Machine.Ready = true },
		"known":      func(e *Evidence) { e.Machine.Known = false },
		"machine":    func(e *Evidence) { e.Machine.Name = "node-2" },
		"its UID":    func(e *Evidence) { e.Machine.UID = "new" },
		"recorded":   func(e *Evidence) { e.NodeUID = "old" },
		"UID":        func(e *Evidence) { e.NodeUID = "" },
		"no UIDs":    func(e *Evidence) { e.NodeUID, e.Machine.UID = "", "" },
		"node":       func(e *Evidence) { e.Last.Node = "node-2" },
		"no node":    func(e *Evidence) { e.Last.Node, e.Machine.Name, e.Last.Deleting = "", "", false },
		"uid":        func(e *Evidence) { e.Last.UID = "other" },
		"tolerates":  func(e *Evidence) { e.Last.Endures = true },
		"mirror":     func(e *Evidence) { e.Last.Mirror = true },
		"unknown":    func(e *Evidence) { e.Presence = Unknown },
		"it is well": func(e *Evidence) { e.Presence, e.Last = Present, Read(validator()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := good
			change(&e)
			require.False(t, Judge(uid, e).Kind.IsProof())
		})
	}
}
