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
)

// operator is what always ends a rest.
const operator = "an operator's word that it is stopped (keysteward release --confirm-stopped)"

// Ends says in words what would end the rest of a pod's keys; node is its machine, if
// that is known. The lease of a pod that has one ends it too, which is not said here.
func Ends(code, node string) string {
	taint := "the taint node.kubernetes.io/out-of-service on its machine"
	if node != "" {
		taint += " " + node
	}
	switch code {
	case CodeReleased, CodeContainerUnknown:
		return "Kubernetes showing that all its containers ended, when the pod is deleted; or " + operator
	case CodeNodeUnreachable:
		return "the machine coming back and stopping the pod; " + taint + ", set when it is off; or " + operator
	case CodeOtherKubernetes:
		return "the Kubernetes that was recorded coming back; or " + operator
	case CodeForceDeleted, CodeCollected:
		return taint + ", set when it is off; or " + operator
	default:
		return operator
	}
}
