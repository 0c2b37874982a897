package testimony

// Why keys rest, or why a pod that is being deleted takes its time. The codes are stable:
// they are in the state, in metrics and in Events, and programs may go by them.
const (
	// CodeGone: the pod's object vanished before anybody saw that its containers ended.
	CodeGone = "pod-gone"
	// CodeForceDeleted: the object was removed while its containers still ran.
	CodeForceDeleted = "force-deleted"
	// CodeCollected: the pod garbage collector removed it, because its machine is not
	// in Kubernetes any more.
	CodeCollected = "pod-collected"
	// CodeReplaced: a pod with another UID has the name.
	CodeReplaced = "pod-replaced"
	// CodeContainerUnknown: the pod ended, and of a container nobody knows how or whether.
	CodeContainerUnknown = "container-unknown"
	// CodeNodeUnreachable: the pod is being deleted, and its machine says nothing.
	CodeNodeUnreachable = "node-unreachable"
	// CodeReleased: the holder or an operator gave the keys back, which is no proof.
	CodeReleased = "released"
	// CodeOtherKubernetes: the Kubernetes that answers is not the one that was recorded.
	CodeOtherKubernetes = "other-kubernetes"
	// CodeRestored: a backup was restored, and what became of the pod since is not known.
	CodeRestored = "restored"
)

// Holder is whose keys rest, or are held by a pod that takes its time to end.
type Holder struct {
	Namespace, Name, UID string
	// Node is the machine on which the pod was recorded, by name and by the UID of its
	// object. Without both nothing that is said of the machine counts for the pod.
	Node, NodeUID string
	// Lease says when the holder's lease ends, such as "in 3m0s"; empty if it has none.
	Lease string
}

// Endings are what would end a rest with that code, or the holding of a pod that takes
// its time to end: the most likely first, and an operator's word last, which always does.
func Endings(code string, h Holder) (list []string) {
	taint := ""
	if h.Node != "" && h.NodeUID != "" {
		taint = "the taint node.kubernetes.io/out-of-service on the node " + h.Node + ", once its machine is off"
	}
	switch code {
	case CodeReleased:
		list = append(list, "Kubernetes showing that all its containers ended, once the pod is deleted")
	case CodeRestored:
		list = append(list, "the pod asking for its keys again, once the restore is confirmed", "Kubernetes showing that all its containers ended, once the pod is deleted")
	case CodeNodeUnreachable:
		list = append(list, "the machine coming back and stopping the pod")
	case CodeOtherKubernetes:
		list, taint = append(list, "the Kubernetes in which it was seen coming back"), ""
	case CodeCollected:
		taint = "" // its machine is not in Kubernetes any more, and nobody can taint it
	}
	if h.Lease != "" {
		list = append(list, "the end of its lease, "+h.Lease)
	}
	if taint != "" {
		list = append(list, taint)
	}
	return append(list, "keysteward release --confirm-stopped --namespace "+h.Namespace+" --pod "+h.Name+" --pod-uid "+h.UID)
}
