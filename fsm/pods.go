package fsm

import (
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Codes of why keys rest that the state machine itself gives.
const (
	RestLeaseExpired = "lease-expired"
)

// maxObservePods bounds the observations of one command.
const maxObservePods = 1000

// ObservedPods is the value of an ObservePods command: how many of the observations
// changed something. The others said what was known, or were of an allocation that is
// no more.
type ObservedPods int

// observePods takes in what a Kubernetes showed of pods that hold keys or rest from them.
func (w *write) observePods(c *fsmpb.ObservePods) Result {
	if n := len(c.GetPods()); n == 0 || n > maxObservePods {
		return Result{Refusal: refuse(Invalid, "%d observations, want 1 to %d", n, maxObservePods)}
	}
	if c.GetKubernetesUid() == "" || len(c.GetKubernetesUid()) > maxName {
		return Result{Refusal: refuse(Invalid, "which Kubernetes showed it?")}
	}
	for _, o := range c.GetPods() {
		if no := checkObservation(o); no != nil {
			return Result{Refusal: no}
		}
	}
	changed := 0
	if isRestoreOpen(w.meta) { // the pods that are known are not all that there may be
		return Result{Value: ObservedPods(0)}
	}
	for _, o := range c.GetPods() {
		if w.observePod(c.GetKubernetesUid(), o) {
			changed++
		}
	}
	return Result{Value: ObservedPods(changed)}
}

func checkObservation(o *fsmpb.PodObservation) *Refusal {
	if no := checkPod(o.GetPod()); no != nil {
		return no
	}
	switch o.GetKind() {
	case fsmpb.PodObservation_KIND_SEEN:
	case fsmpb.PodObservation_KIND_GONE:
		if o.GetCode() == "" {
			return refuse(Invalid, "the keys of pod %s rest, and nobody says why", podName(o.GetPod()))
		}
	case fsmpb.PodObservation_KIND_PROVEN:
		switch o.GetProof().GetKind() {
		case fsmpb.Proof_KIND_POD_TERMINATED, fsmpb.Proof_KIND_OUT_OF_SERVICE:
		default:
			return refuse(Invalid, "a proof of kind %d is none that a Kubernetes shows", o.GetProof().GetKind())
		}
	default:
		return refuse(Invalid, "an observation of kind %d", o.GetKind())
	}
	return nil
}

// observePod reports whether the observation changed something.
func (w *write) observePod(kubernetes string, o *fsmpb.PodObservation) bool {
	old := w.allocation(o.GetPod())
	if old.GetPod().GetUid() != o.GetPod().GetUid() || old.GetFence() != o.GetFence() || old.GetProof() != nil {
		return false
	}
	a := copyAllocation(old)
	if o.GetNode() != "" && old.GetNode() == "" { // a pod never moves
		a.Node, a.NodeUid, a.KubernetesUid = brief(o.GetNode()), brief(o.GetNodeUid()), kubernetes
	}
	why := end{code: o.GetCode(), detail: o.GetDetail()}
	if o.GetKind() == fsmpb.PodObservation_KIND_PROVEN {
		if !counts(o, old, kubernetes) {
			return false
		}
		why.proof, why.waitMS = o.GetProof(), o.GetWaitMs()
	}
	if o.GetKind() == fsmpb.PodObservation_KIND_SEEN || why.proof == nil && a.GetState() == fsmpb.AllocationState_ALLOCATION_STATE_RESTING {
		return w.remark(a, old, o)
	}
	w.rest(a, why)
	return true
}

// counts reports whether the proof is about this pod: another Kubernetes may have a
// machine of the same name, and in the same one the name may have gone to another machine,
// whose node has another UID. So it has to be on record already which one the pod was on.
func counts(o *fsmpb.PodObservation, a *fsmpb.Allocation, kubernetes string) bool {
	return o.GetProof().GetKind() != fsmpb.Proof_KIND_OUT_OF_SERVICE ||
		a.GetNode() != "" && a.GetNode() == o.GetNode() && a.GetKubernetesUid() == kubernetes &&
			a.GetNodeUid() != "" && a.GetNodeUid() == o.GetNodeUid()
}

// remark writes down what does not change the state of an allocation, and reports
// whether it is news.
func (w *write) remark(a, old *fsmpb.Allocation, o *fsmpb.PodObservation) bool {
	action, detail := "allocation.node", a.GetNode()+" of "+a.GetKubernetesUid()+w.held(a)
	held := a.GetState() == fsmpb.AllocationState_ALLOCATION_STATE_HELD
	if o.GetKind() == fsmpb.PodObservation_KIND_GONE || held {
		a.Code, a.Detail = brief(o.GetCode()), brief(o.GetDetail())
	}
	switch {
	case held && a.GetCode() != old.GetCode():
		action, detail = "allocation.holder", plural(len(a.GetKeys()), "key")+w.held(a)+because(a.GetCode())
	case o.GetKind() == fsmpb.PodObservation_KIND_GONE:
		action, detail = "allocation.rest", plural(len(a.GetKeys()), "key")+w.held(a)+because(o.GetCode())
	}
	if proto.Equal(a, old) {
		return false
	}
	mustInsert(w.txn, tableAllocations, a)
	w.record(action, podName(a.GetPod()), detail)
	return true
}
