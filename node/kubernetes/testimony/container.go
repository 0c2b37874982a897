package testimony

import (
	"slices"

	core "k8s.io/api/core/v1"
)

// reasonUnknown is that of a terminated state which the kubelet wrote because the
// runtime no longer knows the container (k8s.io/kubernetes/pkg/kubelet/container).
const reasonUnknown = "ContainerStatusUnknown"

// Reasons of the condition ContainersReady in a status that a kubelet made for a
// terminal phase (k8s.io/kubernetes/pkg/kubelet/status).
const (
	reasonPodCompleted = "PodCompleted"
	reasonPodFailed    = "PodFailed"
)

// unended is why some container of the pod may still run; empty if none can. Each one of
// the spec must have its status, and each status must be of one of the spec.
func unended(pod *core.Pod) string {
	for _, kind := range []struct {
		word     string
		names    []string
		statuses []core.ContainerStatus
	}{
		{"init container ", names(pod.Spec.InitContainers), pod.Status.InitContainerStatuses},
		{"container ", names(pod.Spec.Containers), pod.Status.ContainerStatuses},
		{"ephemeral container ", ephemeral(pod.Spec.EphemeralContainers), pod.Status.EphemeralContainerStatuses},
	} {
		for _, name := range kind.names {
			of := func(s core.ContainerStatus) bool { return s.Name == name }
			i := slices.IndexFunc(kind.statuses, of)
			if i < 0 {
				return kind.word + name + " has no status"
			}
			if doubt := runs(&kind.statuses[i]); doubt != "" {
				return kind.word + name + " " + doubt
			}
		}
		if len(kind.statuses) != len(kind.names) {
			return "it has another number of statuses than of its " + kind.word + "s"
		}
	}
	if len(pod.Spec.Containers) == 0 {
		return "it names no containers"
	}
	return ""
}

func names(containers []core.Container) []string {
	list := make([]string, len(containers))
	for i := range containers {
		list[i] = containers[i].Name
	}
	return list
}

func ephemeral(containers []core.EphemeralContainer) []string {
	list := make([]string, len(containers))
	for i := range containers {
		list[i] = containers[i].Name
	}
	return list
}

// runs is why a container may still run; empty if it can not.
func runs(s *core.ContainerStatus) string {
	end := s.State.Terminated
	switch {
	case neverStarted(s):
		return ""
	case s.State.Running != nil:
		return "runs"
	case end == nil:
		return "has no end"
	case s.State.Waiting != nil:
		return "waits to be started"
	case end.Reason == reasonUnknown, end.ContainerID == "":
		return "was started, and its runtime no longer knows it"
	case end.ContainerID != s.ContainerID:
		return "ended as another one than it is now"
	case end.FinishedAt.IsZero():
		return "has an end without a time"
	}
	return ""
}

// neverStarted reports whether there is no sign that the container ever was. A container
// that ran and that the runtime has forgotten leaves one in its last state.
func neverStarted(s *core.ContainerStatus) bool {
	if s.ContainerID != "" || s.ImageID != "" || s.RestartCount != 0 || s.Started != nil && *s.Started || s.Ready ||
		s.LastTerminationState != (core.ContainerState{}) || s.State.Running != nil {
		return false
	}
	if end := s.State.Terminated; end != nil {
		return s.State.Waiting == nil && end.Reason == reasonUnknown && end.ContainerID == "" && end.StartedAt.IsZero() && end.FinishedAt.IsZero()
	}
	return s.State.Waiting != nil
}

// kubeletsWord reports whether the terminal phase is the kubelet's, who sets it when no
// container can run, and not that of somebody else who sets the phase and leaves the
// statuses as old as they are. What shows it: the condition that kubelets make for a
// terminal phase; a state that only their last look at a pod writes; or, where none of the
// regular containers was ever started, that they have looked since it was deleted.
func kubeletsWord(pod *core.Pod) bool {
	looked := false
	for _, c := range pod.Status.Conditions {
		if c.Type != core.ContainersReady || c.Status != core.ConditionFalse {
			continue
		}
		if c.Reason == reasonPodCompleted || c.Reason == reasonPodFailed {
			return true
		}
		looked = c.ObservedGeneration == 0 || c.ObservedGeneration >= pod.Generation // 0 before Kubernetes 1.33
	}
	started := false
	for i := range pod.Status.ContainerStatuses {
		s := &pod.Status.ContainerStatuses[i]
		if !neverStarted(s) {
			started = true
		} else if s.State.Terminated != nil {
			return true
		}
	}
	return !started && looked
}
