package pods

import (
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/testimony"
)

// rank orders the codes of a rest: a reason gives way only to one that says more.
func rank(code string) int {
	switch code {
	case "":
		return 0
	case testimony.CodeReleased, testimony.CodeRestored:
		return 1
	case testimony.CodeGone:
		return 2
	case testimony.CodeReplaced:
		return 3
	}
	return 4
}

// decide is what is to be proposed for an allocation after a verdict about its pod; nil
// if the state knows it all. Proposing it twice changes nothing.
func decide(a *fsmpb.Allocation, e testimony.Evidence, v testimony.Verdict, identity string) *fsmpb.PodObservation {
	if a.GetProof() != nil {
		return nil
	}
	o := &fsmpb.PodObservation{Pod: a.GetPod(), Fence: a.GetFence(), Detail: v.Detail}
	// A machine is written down of the pods that go with it when it is put out of service.
	if !e.Last.Endures {
		o.Node, o.NodeUid = e.Last.Node, machineUID(e)
	}
	if v.Kind == testimony.Terminated {
		return proven(o, fsmpb.Proof_KIND_POD_TERMINATED)
	}
	if a.GetKubernetesUid() != "" && a.GetKubernetesUid() != identity {
		return nil
	}
	switch {
	case v.Kind == testimony.OutOfService:
		if a.GetNode() == o.GetNode() {
			o.NodeUid = e.NodeUID
			return proven(o, fsmpb.Proof_KIND_OUT_OF_SERVICE)
		}
	case v.Kind == testimony.Rests:
		if a.GetState() == fsmpb.AllocationState_ALLOCATION_STATE_HELD || rank(v.Code) > rank(a.GetCode()) {
			o.Kind, o.Code = fsmpb.PodObservation_KIND_GONE, v.Code
			return o
		}
	case e.Presence == testimony.Present && (o.GetNode() != "" && a.GetNode() == "" || slow(a, v)):
		o.Kind, o.Code = fsmpb.PodObservation_KIND_SEEN, v.Code
		return o
	}
	return nil
}

// slow reports whether it is news that a holder takes its time to end, or why, or that it
// does not any more.
func slow(a *fsmpb.Allocation, v testimony.Verdict) bool {
	return a.GetState() == fsmpb.AllocationState_ALLOCATION_STATE_HELD && a.GetCode() != v.Code
}

// machineUID is the UID of the machine that a pod is on. It can be told only while both
// are there: of a pod that is gone nobody knows whether the machine that has the name now
// is the one that it was on.
func machineUID(e testimony.Evidence) string {
	if e.Presence != testimony.Present {
		return ""
	}
	return e.Machine.UID
}

func proven(o *fsmpb.PodObservation, kind fsmpb.Proof_Kind) *fsmpb.PodObservation {
	o.Kind, o.Proof = fsmpb.PodObservation_KIND_PROVEN, &fsmpb.Proof{Kind: kind, Detail: o.GetDetail()}
	o.Detail = ""
	return o
}

// stranded is what is to be proposed for an allocation whose pod was seen in another
// Kubernetes than the one that answers now: that says nothing of the pod, and a wrong
// address must not make all keys rest. Only when the next pod of the name waits here for
// these keys do they rest, so that it can be said why it waits.
func stranded(view *fsm.View, a *fsmpb.Allocation, identity string) *fsmpb.PodObservation {
	if a.GetKubernetesUid() == "" || a.GetKubernetesUid() == identity || a.GetProof() != nil ||
		a.GetState() != fsmpb.AllocationState_ALLOCATION_STATE_HELD || !view.Request(a.GetPod().GetNamespace(), a.GetPod().GetName()).GetBlocked() {
		return nil
	}
	return &fsmpb.PodObservation{
		Kind: fsmpb.PodObservation_KIND_GONE, Pod: a.GetPod(), Fence: a.GetFence(), Code: testimony.CodeOtherKubernetes,
		Detail: "it was seen in Kubernetes " + a.GetKubernetesUid() + ", and the one that answers now is " + identity,
	}
}
