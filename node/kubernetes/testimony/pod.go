package testimony

import (
	"slices"

	core "k8s.io/api/core/v1"
)

// Sight is what an object of a pod says that matters here, in a few hundred bytes. The
// zero value is that of no pod.
type Sight struct {
	Namespace, Name, UID string
	// Node is the machine that it was bound to, if it was.
	Node string
	// Unbound: it is being deleted, never was on a machine, and so can not be any more
	// (the API server binds no pod that is being deleted).
	Unbound bool
	// Deleting: it has a deletion timestamp, so it is never bound or started again.
	Deleting bool
	// Terminal: its phase is Succeeded or Failed.
	Terminal bool
	// Collected: the pod garbage collector removes it.
	Collected bool
	// Endures: it tolerates the out-of-service taint, so that taint says nothing of it.
	Endures bool
	// Mirror: it shows a static pod, whose life does not depend on the object.
	Mirror bool
	// Ended: all its containers have ended, by the word of its kubelet, for good.
	Ended bool
	// Doubt is why it is not Ended; told of pods that end only.
	Doubt string
}

// reasonCollected is that of the condition DisruptionTarget which the pod garbage
// collector sets (k8s.io/kubernetes/pkg/controller/podgc).
const reasonCollected = "DeletionByPodGC"

// Read takes from a pod's object what it says. It keeps nothing of the object.
func Read(pod *core.Pod) Sight {
	_, mirror := pod.Annotations[core.MirrorPodAnnotationKey]
	s := Sight{
		Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID), Node: pod.Spec.NodeName,
		Deleting: pod.DeletionTimestamp != nil, Terminal: terminal(pod), Mirror: mirror,
		Collected: collected(pod), Endures: endures(pod),
	}
	s.Unbound = s.Deleting && !mirror && !s.Collected && unbound(pod)
	if s.Deleting || s.Terminal {
		s.Doubt = s.doubt(pod)
		s.Ended = s.Doubt == ""
	}
	return s
}

// doubt is why the object does not show that all containers ended for good; empty if it
// does.
func (s *Sight) doubt(pod *core.Pod) string {
	switch {
	case !s.Deleting:
		return "it is not being deleted: its containers may be started again"
	case s.UID == "":
		return "it has no UID"
	case s.Mirror:
		return "it shows a static pod, which runs whatever becomes of the object"
	case s.Collected:
		return "the pod garbage collector removed it, and that does not look at its machine"
	case s.Node == "":
		return "it was not bound to a machine"
	case !s.Terminal:
		return "its phase is " + phase(pod)
	}
	if doubt := unended(pod); doubt != "" {
		return doubt
	}
	if !kubeletsWord(pod) {
		return "nothing shows that its kubelet said that it ended, rather than somebody who set its phase"
	}
	return ""
}

func unbound(pod *core.Pod) bool {
	status := &pod.Status
	return pod.Spec.NodeName == "" && status.StartTime == nil && status.HostIP == "" &&
		len(status.InitContainerStatuses)+len(status.ContainerStatuses)+len(status.EphemeralContainerStatuses) == 0
}

func terminal(pod *core.Pod) bool {
	return pod.Status.Phase == core.PodSucceeded || pod.Status.Phase == core.PodFailed
}

func phase(pod *core.Pod) string {
	switch p := pod.Status.Phase; p {
	case core.PodPending, core.PodRunning, core.PodSucceeded, core.PodFailed, core.PodUnknown:
		return string(p)
	default:
		return "one that is not known here"
	}
}

func collected(pod *core.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c core.PodCondition) bool {
		return c.Type == core.DisruptionTarget && c.Reason == reasonCollected
	})
}

// endures reports whether the pod may tolerate the out-of-service taint. The value and
// the effect are not looked at: whoever names the taint at all is not put out by it.
func endures(pod *core.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Tolerations, func(t core.Toleration) bool {
		return t.Key == "" || t.Key == core.TaintNodeOutOfService
	})
}
