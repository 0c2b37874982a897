package fsm

import (
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// RestRestored is the code of allocations that rest since a restore.
const RestRestored = "restored"

// rewind makes of the state of a backup one that it is safe to go on from, in place
// of the old one: whatever happened after the backup is not known, so nothing is
// handed out, signed or applied before it is found out, and no number is given
// twice. It changes only what it is called on.
//
//   - Numbers leap (see [write.leap]); members and session are the present cluster's.
//   - Requests are dropped. Keys that nothing was signed for are dropped too, as if
//     they had never been generated: they may have been signed for since.
//   - Every allocation rests, without proof. Free keys rest as well, marked; keys with
//     a deposit on its way will, once it is final.
//   - Tokens are suspended, accounts unsettled, the search for deposits begins anew.
//   - Logical clouds that are up get another generation.
func (w *write) rewind(c *fsmpb.FinishRestore, old *write) *Refusal {
	w.beginRestore(c, old)
	if no := w.leap(old); no != nil {
		return no
	}
	w.keep(old)
	w.dropStaged()
	for _, r := range gather(lowerBound[*fsmpb.Request](w.txn, tableRequests, nil)) {
		mustDelete(w.txn, tableRequests, r)
	}
	for _, k := range gather(lowerBound[*fsmpb.Key](w.txn, tableKeys, nil)) {
		w.rewindKey(k)
	}
	for _, a := range gather(lowerBound[*fsmpb.Allocation](w.txn, tableAllocations, nil)) {
		w.rewindAllocation(a)
	}
	for _, a := range gather(lowerBound[*fsmpb.Account](w.txn, tableAccounts, nil)) {
		a = proto.CloneOf(a)
		a.Unsettled = true
		mustInsert(w.txn, tableAccounts, a)
	}
	for _, t := range gather(lowerBound[*fsmpb.Token](w.txn, tableTokens, nil)) {
		t = proto.CloneOf(t)
		t.Suspended = true
		mustInsert(w.txn, tableTokens, t)
	}
	w.meta.SeedSearch = nil
	w.recordRestore(c, old)
	w.rewindClouds()
	return nil
}

// rewindKey has a key rest, or drops it where nothing was ever signed for it. Those
// in allocations are for rewindAllocation.
func (w *write) rewindKey(old *fsmpb.Key) {
	k := copyKey(old)
	k.ReservedBy = ""
	switch k.GetState() {
	case fsmpb.KeyState_KEY_STATE_GENERATED:
		w.dropKey(old)
		return
	case fsmpb.KeyState_KEY_STATE_DEPOSITING:
		if d := w.deposit(k.GetPubkey()); isUnpaid(d) {
			w.deleteDeposit(d)
			w.dropKey(old)
			return
		}
		k.Restored = true
	case fsmpb.KeyState_KEY_STATE_FREE:
		w.restAlone(k)
		return
	case fsmpb.KeyState_KEY_STATE_HELD:
		k.State = fsmpb.KeyState_KEY_STATE_RESTING
	case fsmpb.KeyState_KEY_STATE_RESTING:
		if k.GetHolder() == nil && k.GetProof() != nil { // the word was given, and it may have been handed out since
			w.restAlone(k)
			return
		}
	case fsmpb.KeyState_KEY_STATE_RETIRED, fsmpb.KeyState_KEY_STATE_UNSPECIFIED:
	}
	w.putKey(k)
}

// dropKey forgets a key that was only generated. It has no ciphertext to count.
func (w *write) dropKey(k *fsmpb.Key) {
	w.meta.KeyCounts[k.GetState()]--
	mustDelete(w.txn, tableKeys, k)
}

// restAlone has a key rest outside of an allocation until the restore is confirmed,
// under a fence of its own.
func (w *write) restAlone(k *fsmpb.Key) {
	k.State, k.Holder, k.Restored = fsmpb.KeyState_KEY_STATE_RESTING, nil, true
	k.Proof, k.FreeAtMs, k.Fence = nil, 0, w.nextFence()
	w.putKey(k)
}

// rewindAllocation takes a pod's keys back. What proved its end then says nothing of
// who may have had the keys since.
func (w *write) rewindAllocation(old *fsmpb.Allocation) {
	a := copyAllocation(old)
	a.State, a.Proof, a.FreeAtMs = fsmpb.AllocationState_ALLOCATION_STATE_RESTING, nil, 0
	a.LeaseUntilMs, a.LeaseWaitMs = 0, 0
	a.Code, a.Detail = RestRestored, "a backup was restored: what became of the pod after it is not known"
	a.Fence, a.SinceWallMs = w.nextFence(), w.cmd.GetWallMs()
	mustInsert(w.txn, tableAllocations, a)
}

// rewindClouds gives every cloud that is up another generation, without a key. What
// generations that were lost left in the clusters is swept like other leftovers.
func (w *write) rewindClouds() {
	for _, o := range gather(objectsUnder(w.txn, kindCloud)) {
		if !IsUp(o.GetCloud()) {
			continue
		}
		next, c := changedCloud(o)
		c.Plan = samePlan(c.GetPlan(), w.nextGeneration())
		w.beginGeneration(c)
		w.remember(c, "restore")
		w.putObject(next)
		w.settleCloud(c.GetProject(), c.GetMetadata().GetName())
	}
}
