package testimony

// Presence is how a pod stands with Kubernetes.
type Presence int

const (
	// Unknown means that nobody could tell, or nobody asked yet.
	Unknown Presence = iota
	// Present means that the object is there.
	Present
	// Deleted means that a watch showed the object's deletion, with its last state.
	Deleted
	// Gone means that a consistent read confirmed that no pod has the name.
	Gone
	// Replaced means that a pod with another UID has the name, as a watch or a consistent read said.
	Replaced
)

// Evidence is all that is known of a pod.
type Evidence struct {
	Presence Presence
	// Last is the last sight of the pod, if any. One of another UID counts for nothing.
	Last Sight
	// Machine is that which has the name of the pod's now, the zero value if it is not known.
	Machine Machine
	// NodeUID is the UID that the object of the pod's machine had when the pod was put on
	// record, empty if it was not known.
	NodeUID string
}

// Kind is what follows for a pod's keys.
type Kind int

const (
	// Nothing is what follows from a pod that runs, and from not knowing.
	Nothing Kind = iota
	// Ending is a pod that is being deleted and holds its keys until it has ended.
	Ending
	// Rests is a pod that nobody sees any more, or not well enough, and that might still sign.
	Rests
	// Terminated proves that its containers have ended.
	Terminated
	// OutOfService proves by an operator's word that its machine is off.
	OutOfService
)

// String is the kind as it is called in logs and metrics.
func (k Kind) String() string {
	return [...]string{"nothing", "ending", "rests", "terminated", "out-of-service"}[k]
}

// IsProof reports whether the old holder can no longer sign.
func (k Kind) IsProof() bool { return k == Terminated || k == OutOfService }

// Verdict is what follows from evidence. Code and Detail say why keys rest, or why a pod
// that is being deleted takes its time; Detail says of a proof what was seen.
type Verdict struct {
	Kind         Kind
	Code, Detail string
}

// Judge says what the evidence proves about the pod with that UID. Proof of termination,
// once it was there, does not go away with later evidence that contains the same sight.
func Judge(uid string, e Evidence) Verdict {
	if uid == "" || e.Last.UID != uid {
		e.Last, e.Machine, e.NodeUID = Sight{}, Machine{}, ""
	}
	switch last := e.Last; {
	case e.Presence == Unknown:
		return Verdict{}
	case last.UID == "" && (e.Presence == Present || e.Presence == Deleted):
		return Verdict{} // what was seen is another pod
	case last.Ended:
		return Verdict{Terminated, "", "all its containers have ended" + on(last.Node)}
	case e.Presence == Deleted && last.Unbound:
		return Verdict{Terminated, "", "it was never bound to a machine"}
	case e.off():
		return Verdict{OutOfService, "", "its machine " + last.Node + " is not ready and carries the taint node.kubernetes.io/out-of-service"}
	case e.Presence == Present:
		return e.present()
	default:
		return e.absent()
	}
}

// off reports whether the pod's machine is off by an operator's word, and the pod will
// not be started by it when it comes back. The machine that has the name must be the one
// on which the pod was recorded.
func (e *Evidence) off() bool {
	last, m := e.Last, e.Machine
	return last.Node != "" && m.Name == last.Node && m.Known && e.NodeUID != "" && m.UID == e.NodeUID &&
		m.OutOfService && !m.Ready && !last.Endures && !last.Mirror &&
		(e.Presence != Present || last.Deleting)
}

func (e *Evidence) present() Verdict {
	last := e.Last
	switch {
	case !last.Deleting:
		return Verdict{}
	case last.Collected:
		return Verdict{Rests, CodeCollected, "the pod garbage collector removes it" + on(last.Node)}
	case last.Terminal:
		return Verdict{Rests, CodeContainerUnknown, last.Doubt}
	case e.Machine.Known && !e.Machine.Ready:
		return Verdict{Ending, CodeNodeUnreachable, "it is being deleted, and its machine " + last.Node + " is not ready"}
	}
	return Verdict{Kind: Ending}
}

func (e *Evidence) absent() Verdict {
	last := e.Last
	switch {
	case e.Presence == Deleted && last.Collected:
		return Verdict{Rests, CodeCollected, "the pod garbage collector removed it" + on(last.Node) + ", which does not show that it stopped"}
	case e.Presence == Deleted && last.Terminal:
		return Verdict{Rests, CodeContainerUnknown, "it was deleted" + on(last.Node) + ": " + last.Doubt}
	case e.Presence == Deleted:
		return Verdict{Rests, CodeForceDeleted, "it was removed by force" + on(last.Node) + " before its containers had ended"}
	case e.Presence == Replaced:
		return Verdict{Rests, CodeReplaced, "a pod with another UID has its name, and nobody saw how it ended" + on(last.Node)}
	}
	return Verdict{Rests, CodeGone, "it is not in Kubernetes any more, and nobody saw how it ended" + on(last.Node)}
}

func on(node string) string {
	if node == "" {
		return ""
	}
	return " on " + node
}
