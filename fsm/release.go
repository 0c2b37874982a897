package fsm

import (
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// release takes the keys of a pod back. Without proof that the holder can no
// longer sign they rest until a later release brings it; with proof they are
// free once wait_ms of cluster time have passed. Repeating it is refused with
// StaleFence or NotFound and changes nothing. With a UID it never touches
// another UID of the pod's name, whatever the fence.
func (w *write) release(c *fsmpb.Release) Result {
	if c.GetProof() != nil && !isProof(c.GetProof()) {
		return Result{Refusal: refuse(Invalid, "a proof of kind %d proves nothing", c.GetProof().GetKind())}
	}
	p := &fsmpb.Pod{Namespace: c.GetNamespace(), Name: c.GetPod()}
	a, r := w.allocation(p), w.request(p)
	if uid := c.GetPodUid(); uid != "" {
		if a.GetPod().GetUid() != uid && r.GetPod().GetUid() != uid {
			return Result{Refusal: refuse(NotFound, "UID %s of pod %s holds nothing and waits for nothing: nothing to do", brief(uid), podName(p))}
		}
		a, r = ifOf(uid, a), ifOf(uid, r)
	}
	switch {
	case a == nil && r == nil:
		return Result{Refusal: refuse(NotFound, "pod %s holds no keys and waits for none", podName(p))}
	case c.GetFence() == 0 && r != nil:
		w.withdraw(r)
		return Result{}
	case a == nil:
		return Result{Refusal: refuse(StaleFence, "fence %d: pod %s holds no keys, it waits for some (fence 0 withdraws the request)", c.GetFence(), podName(p))}
	case c.GetFence() != a.GetFence():
		return Result{Refusal: refuse(StaleFence, "fence %d: the allocation of pod %s is at fence %d", c.GetFence(), podName(p), a.GetFence())}
	}
	w.rest(a, end{code: c.GetCode(), detail: c.GetDetail(), proof: c.GetProof(), waitMS: c.GetWaitMs()})
	return Result{}
}

// ifOf returns the allocation or request if it is that of the UID, else nil.
func ifOf[T interface {
	*fsmpb.Allocation | *fsmpb.Request
	GetPod() *fsmpb.Pod
}](uid string, x T) T {
	if x.GetPod().GetUid() != uid {
		return nil
	}
	return x
}

// isProof reports whether the proof is of a kind that this version knows.
func isProof(p *fsmpb.Proof) bool {
	_, known := fsmpb.Proof_Kind_name[int32(p.GetKind())]
	return known && p.GetKind() != fsmpb.Proof_KIND_UNSPECIFIED
}

// end is why an allocation is held no more, and what is known of its holder.
type end struct {
	code, detail string
	proof        *fsmpb.Proof // that it can no longer sign, nil if there is none
	waitMS       uint64       // of rest after the proof
}

// rest ends the holding of an allocation, and its rest if there is proof. What is
// known is written down with it; a reason that was there stays if none is given. What
// the same pod asked for besides is withdrawn: it would get keys of others.
func (w *write) rest(old *fsmpb.Allocation, why end) {
	if r := w.request(old.GetPod()); r.GetPod().GetUid() == old.GetPod().GetUid() {
		w.withdraw(r)
	}
	a := copyAllocation(old)
	held := a.GetState() == fsmpb.AllocationState_ALLOCATION_STATE_HELD
	if held {
		a.Code, a.Detail = "", "" // they were about its holding
	}
	if why.code != "" {
		a.Code, a.Detail = brief(why.code), brief(why.detail)
	}
	if held {
		a.State = fsmpb.AllocationState_ALLOCATION_STATE_RESTING
		a.Fence, a.SinceWallMs = w.nextFence(), w.cmd.GetWallMs()
		w.record("allocation.rest", podName(a.GetPod()), plural(len(a.GetKeys()), "key")+w.held(a)+because(why.code))
	}
	if why.proof != nil && a.GetProof() == nil {
		w.prove(a, why)
	}
	if a.GetProof() != nil && (a.GetFreeAtMs() <= w.meta.GetClusterTimeMs() || w.mayFollow(a)) {
		w.endRest(a) // from whatever state its keys are in
		return
	}
	if held {
		w.restKeys(a)
	}
	mustInsert(w.txn, tableAllocations, a)
}

// restKeys lets the keys of an allocation rest.
func (w *write) restKeys(a *fsmpb.Allocation) {
	for _, pubkey := range a.GetKeys() {
		k := copyKey(w.key(pubkey))
		k.State = fsmpb.KeyState_KEY_STATE_RESTING
		w.putKey(k)
	}
}

func because(code string) string {
	if code == "" {
		return ""
	}
	return ", " + brief(code)
}

// prove writes the proof down. The holder may since long be unable to sign: the
// clock of whoever saw it is the latest moment at which it could.
func (w *write) prove(a *fsmpb.Allocation, why end) {
	a.Proof = &fsmpb.Proof{
		Kind: why.proof.GetKind(), By: brief(why.proof.GetBy()), Detail: brief(why.proof.GetDetail()), WallMs: w.cmd.GetWallMs(),
	}
	a.FreeAtMs = w.meta.GetClusterTimeMs() + min(why.waitMS, maxWaitMS)
	w.record("allocation.proof", podName(a.GetPod()), a.GetProof().GetKind().String()+" by "+a.GetProof().GetBy()+w.held(a))
}

// mayFollow reports whether the pod's next UID takes all keys of a proven allocation
// over at once, and imports their watermarks: nobody could get one without.
func (w *write) mayFollow(a *fsmpb.Allocation) bool {
	r, n := w.request(a.GetPod()), size(a.GetKeys())
	return r.GetBlocked() && r.GetSlashingProtection() && r.GetWant() == n && size(r.GetReserved()) == n
}

// maxWaitMS keeps sums of cluster time within 64 bits.
const maxWaitMS = 1 << 50

// endRest frees the keys of an allocation whose holder is proven gone, and lets
// a request of the pod's next UID go on.
func (w *write) endRest(a *fsmpb.Allocation) {
	mustDelete(w.txn, tableAllocations, a)
	w.unblock(a.GetPod())
	keys := make([]*fsmpb.Key, len(a.GetKeys()))
	for i, pubkey := range a.GetKeys() {
		k := copyKey(w.key(pubkey))
		k.Holder, k.ProofFence, k.ProvenWallMs = nil, k.GetFence(), max(k.GetProvenWallMs(), a.GetProof().GetWallMs())
		keys[i] = k
	}
	w.record("allocation.free", podName(a.GetPod()), plural(len(a.GetKeys()), "key")+w.held(a))
	w.free(keys)
}

// unblock lets a request that waits for the end of the pod's allocation go on.
func (w *write) unblock(p *fsmpb.Pod) {
	if r := w.request(p); r.GetBlocked() {
		r = copyRequest(r)
		r.Blocked = false
		mustInsert(w.txn, tableRequests, r)
	}
}
