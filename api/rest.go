package api

import (
	"fmt"
	"strings"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// released is the code of a rest that somebody asked for.
const released = "released"

// restOf says why keys rest, and what would end it.
func restOf(m *fsmpb.Meta, a *fsmpb.Allocation) wire.Rest {
	r := wire.Rest{Code: a.GetCode(), Detail: a.GetDetail(), EndedBy: endings(m, a)}
	if r.Code == "" {
		r.Code = released // by a version that did not write it down
	}
	return r
}

// restsUntil says in words what ends the rest of an allocation, the way it goes on
// after "until".
func restsUntil(m *fsmpb.Meta, a *fsmpb.Allocation) string {
	if a.GetProof() == nil {
		return "there is proof that the pod can no longer sign, such as " + strings.Join(endings(m, a), ", or ")
	}
	return endings(m, a)[0] + " have passed; proof by " + a.GetProof().GetBy()
}

// endings are what would end a rest, the most likely first.
func endings(m *fsmpb.Meta, a *fsmpb.Allocation) (list []string) {
	left := func(at uint64) time.Duration {
		return (time.Duration(signed(at-min(at, m.GetClusterTimeMs()))) * time.Millisecond).Round(time.Second)
	}
	if a.GetProof() != nil {
		return []string{fmt.Sprintf("%s more of cluster time", left(a.GetFreeAtMs()))}
	}
	if at := a.GetLeaseUntilMs(); at > 0 {
		list = append(list, fmt.Sprintf("the end of its lease, in %s of cluster time", left(at)))
	}
	if node := a.GetNode(); node != "" {
		list = append(list, fmt.Sprintf("the taint node.kubernetes.io/out-of-service on the node %s, once its machine is off", node))
	}
	p := a.GetPod()
	return append(list, fmt.Sprintf("keysteward release --confirm-stopped --namespace %s --pod %s --pod-uid %s", p.GetNamespace(), p.GetName(), p.GetUid()))
}

// proofOf is the zero proof where there is none, which is left out.
func proofOf(p *fsmpb.Proof) wire.Proof {
	if p == nil {
		return wire.Proof{}
	}
	kind := strings.ToLower(strings.TrimPrefix(p.GetKind().String(), "KIND_"))
	return wire.Proof{Kind: wire.ProofKind(kind), By: p.GetBy(), Detail: p.GetDetail(), At: wallTime(p.GetWallMs())}
}
