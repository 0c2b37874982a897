package fsm

import (
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// maxLeaseMS keeps sums of cluster time within 64 bits.
const maxLeaseMS = 1 << 50

// renewLease lets the lease of a pod's allocation run out no earlier than its duration
// from now, and begins it if there was none. An allocation that rests, another UID or
// another fence is refused with StaleFence or NotFound: its holder must not sign any
// more. One that rests for nothing but its lease is held again: the holder does not
// change. Its value is the cluster time at which the lease runs out.
func (w *write) renewLease(c *fsmpb.RenewLease) Result {
	if no := checkPod(c.GetPod()); no != nil {
		return Result{Refusal: no}
	}
	if d := c.GetDurationMs(); d == 0 || d > maxLeaseMS {
		return Result{Refusal: refuse(Invalid, "a lease of %d ms", d)}
	}
	old := w.allocation(c.GetPod())
	if old.GetPod().GetUid() == c.GetPod().GetUid() && c.GetFence() == 0 && old.GetCode() == RestLeaseExpired {
		old = w.wake(old)
	}
	switch {
	case old.GetPod().GetUid() != c.GetPod().GetUid():
		return Result{Refusal: refuse(NotFound, "UID %s of pod %s holds no keys", brief(c.GetPod().GetUid()), podName(c.GetPod()))}
	case old.GetState() != fsmpb.AllocationState_ALLOCATION_STATE_HELD:
		return Result{Refusal: refuse(StaleFence, "the keys of pod %s rest: its validator has to be stopped", podName(c.GetPod()))}
	case c.GetFence() != 0 && c.GetFence() != old.GetFence():
		return Result{Refusal: refuse(StaleFence, "fence %d: the allocation of pod %s is at fence %d", c.GetFence(), podName(c.GetPod()), old.GetFence())}
	}
	a := copyAllocation(old)
	a.LeaseUntilMs = max(a.GetLeaseUntilMs(), w.meta.GetClusterTimeMs()+c.GetDurationMs())
	a.LeaseWaitMs = min(c.GetWaitMs(), maxWaitMS)
	mustInsert(w.txn, tableAllocations, a)
	if old.GetLeaseUntilMs() == 0 {
		w.record("lease.begin", podName(a.GetPod()), plural(len(a.GetKeys()), "key")+w.held(a))
	}
	return Result{Value: a.GetLeaseUntilMs()}
}

// endLeases takes a lease that ran out as proof: its holder has killed what signs well before.
func (w *write) endLeases() {
	for {
		a := lowest[*fsmpb.Allocation](w.txn, tableAllocations, indexLease)
		if a == nil || a.GetLeaseUntilMs() > w.meta.GetClusterTimeMs() {
			return
		}
		code, detail := "", ""
		if a.GetState() == fsmpb.AllocationState_ALLOCATION_STATE_HELD {
			code, detail = RestLeaseExpired, "the holder's lease was not renewed"
		}
		w.rest(a, end{
			code: code, detail: detail, waitMS: a.GetLeaseWaitMs(),
			proof: &fsmpb.Proof{Kind: fsmpb.Proof_KIND_LEASE_EXPIRED, By: "cluster time"},
		})
	}
}
