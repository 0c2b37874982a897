package api

import (
	"fmt"
	"strings"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/testimony"
)

// released is the code of a rest that somebody asked for.
const released = testimony.CodeReleased

// restOf says why keys rest, and what would end it.
func restOf(m *fsmpb.Meta, a *fsmpb.Allocation) wire.Rest {
	return wire.Rest{Code: restCode(a), Detail: a.GetDetail(), EndedBy: endings(m, a)}
}

func restCode(a *fsmpb.Allocation) string {
	if a.GetCode() == "" {
		return released // by a version that did not write it down
	}
	return a.GetCode()
}

// slowOf says why a pod that is being deleted takes its time to end and keeps its keys;
// the zero value, which is left out, if it does not.
func slowOf(m *fsmpb.Meta, a *fsmpb.Allocation) wire.Rest {
	if a.GetCode() == "" {
		return wire.Rest{}
	}
	return wire.Rest{Code: a.GetCode(), Detail: a.GetDetail(), EndedBy: endings(m, a)}
}

// restsUntil says in words what ends the rest of an allocation, the way it goes on
// after "until".
func restsUntil(m *fsmpb.Meta, a *fsmpb.Allocation) string {
	if a.GetProof() == nil {
		return "there is proof that the pod can no longer sign, such as " + strings.Join(endings(m, a), ", or ")
	}
	return endings(m, a)[0] + " have passed; proof by " + a.GetProof().GetBy()
}

// endings are what would end a rest, the most likely first, in the words of testimony, as
// Events and the log have them.
func endings(m *fsmpb.Meta, a *fsmpb.Allocation) []string {
	left := func(at uint64) time.Duration {
		return (time.Duration(signed(at-min(at, m.GetClusterTimeMs()))) * time.Millisecond).Round(time.Second)
	}
	if a.GetProof() != nil {
		return []string{fmt.Sprintf("%s more of cluster time", left(a.GetFreeAtMs()))}
	}
	p := a.GetPod()
	h := testimony.Holder{Namespace: p.GetNamespace(), Name: p.GetName(), UID: p.GetUid(), Node: a.GetNode(), NodeUID: a.GetNodeUid()}
	if at := a.GetLeaseUntilMs(); at > 0 {
		h.Lease = fmt.Sprintf("in %s of cluster time", left(at))
	}
	return testimony.Endings(restCode(a), h)
}

// proofOf is the zero proof where there is none, which is left out.
func proofOf(p *fsmpb.Proof) wire.Proof {
	if p == nil {
		return wire.Proof{}
	}
	kind := strings.ToLower(strings.TrimPrefix(p.GetKind().String(), "KIND_"))
	return wire.Proof{Kind: wire.ProofKind(kind), By: p.GetBy(), Detail: p.GetDetail(), At: wallTime(p.GetWallMs())}
}
