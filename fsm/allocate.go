package fsm

import (
	"strconv"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// MaxKeysPerPod bounds what one pod may hold; servers set a lower limit of their own.
const MaxKeysPerPod = 100_000

// Allocated is the value of an Allocate command.
type Allocated struct {
	// Allocation of the pod name, nil if it holds nothing. It may still be that
	// of an earlier UID.
	Allocation *fsmpb.Allocation
	// Request of this UID that waits, nil if it holds all that it asked for.
	Request *fsmpb.Request
}

// allocate sees to it that the pod holds, or waits for, at least the number of
// keys it asks for. Its value is [Allocated]. A repeat joins the request that
// waits and plans nothing more.
func (w *write) allocate(c *fsmpb.Allocate) Result {
	p, n := c.GetPod(), c.GetKeys()
	if no := checkPod(p); no != nil {
		return Result{Refusal: no}
	}
	if n == 0 || n > MaxKeysPerPod {
		return Result{Refusal: refuse(Invalid, "%d keys: want 1 to %d", n, MaxKeysPerPod)}
	}
	if no := w.poolShort(c); no != nil {
		return Result{Refusal: no}
	}
	held := w.allocation(p)
	switch {
	case held == nil:
		w.ask(c, n)
	case held.GetPod().GetUid() != p.GetUid():
		w.askBehind(held, c)
	default:
		held = w.wake(held)
		if has := size(held.GetKeys()); n > has {
			w.ask(c, n-has)
		}
	}
	answer := Allocated{Allocation: w.allocation(p)}
	if r := w.request(p); r.GetPod().GetUid() == p.GetUid() { // a later UID's may wait behind this one
		answer.Request = r
	}
	if c.GetDisclose() && answer.Request == nil {
		w.record("key.disclose", podName(p), plural(len(answer.Allocation.GetKeys()), "key")+w.held(answer.Allocation))
	}
	return Result{Value: answer}
}

// ask makes the pod's request, or widens the one that waits. One of an earlier
// UID is taken over with what it reserves, so that nothing is paid for twice.
func (w *write) ask(c *fsmpb.Allocate, want uint32) {
	p, keys := c.GetPod(), c.GetKeys()
	old := w.request(p)
	if old.GetBlocked() {
		w.withdraw(old)
		old = nil
	}
	sameUID := old.GetPod().GetUid() == p.GetUid()
	if old != nil && sameUID && old.GetKeys() >= keys {
		return
	}
	r := w.newRequest(p, keys)
	if old != nil {
		r = copyRequest(old)
		r.Pod, r.Keys = p, keys
	}
	r.Want = want
	asked := plural(int(keys), "key") + w.more(", UID %s", p.GetUid())
	if old == nil && w.poolServes(want) {
		w.record("allocation.request", podName(p), asked)
		w.grantFromPool(r)
		w.settle()
		return
	}
	mustInsert(w.txn, tableRequests, r)
	w.trim(r)
	w.record("allocation.request", podName(p), asked)
	w.settle()
	w.grantIfReady(w.request(p))
}

// poolServes reports whether nobody else waits for keys, and the pool has so many.
func (w *write) poolServes(want uint32) bool {
	if lowest[*fsmpb.Request](w.txn, tableRequests, indexUnfilled) != nil {
		return false
	}
	n, err := w.txn.Len(tableKeys, indexPool)
	must(err)
	return n >= int(want)
}

// grantFromPool does at once for a request that is in no table what reserving keys of the
// pool and granting them would come to.
func (w *write) grantFromPool(r *fsmpb.Request) {
	a := w.widened(r.GetPod())
	for range r.GetWant() {
		w.hold(copyKey(lowest[*fsmpb.Key](w.txn, tableKeys, indexPool)), a, r.GetPod())
	}
	w.granted(r, a)
}

// widened is the pod's allocation, or a new one, under a new fence.
func (w *write) widened(p *fsmpb.Pod) *fsmpb.Allocation {
	a := &fsmpb.Allocation{Pod: p, State: fsmpb.AllocationState_ALLOCATION_STATE_HELD}
	if old := w.allocation(p); old != nil {
		a = copyAllocation(old)
	}
	a.Fence, a.SinceWallMs = w.nextFence(), w.cmd.GetWallMs()
	return a
}

// hold gives a key to a pod and adds it to its allocation.
func (w *write) hold(k *fsmpb.Key, a *fsmpb.Allocation, p *fsmpb.Pod) {
	k.State, k.Holder, k.Fence, k.ReservedBy = fsmpb.KeyState_KEY_STATE_HELD, p, a.GetFence(), ""
	w.putKey(k)
	a.Keys = append(a.Keys, k.GetPubkey())
}

func (w *write) granted(r *fsmpb.Request, a *fsmpb.Allocation) {
	mustInsert(w.txn, tableAllocations, a)
	w.record("allocation.grant", podName(r.GetPod()), plural(int(r.GetWant()), "key")+w.held(a))
}

// askBehind lets a new UID wait for the keys of the pod's earlier UID, and for
// nothing else: what is new is planned when the old holder is surely gone.
func (w *write) askBehind(held *fsmpb.Allocation, c *fsmpb.Allocate) {
	p, n := c.GetPod(), c.GetKeys()
	r := w.request(p)
	switch {
	case r != nil && r.GetBlocked() && r.GetPod().GetUid() == p.GetUid():
		if r.GetKeys() >= n && r.GetSlashingProtection() == c.GetSlashingProtection() {
			return
		}
		r = copyRequest(r)
		n = max(n, r.GetKeys())
		r.Keys = n
	default:
		if r != nil {
			w.withdraw(r)
		}
		r = w.newRequest(p, n)
	}
	r.Want, r.Blocked, r.SlashingProtection = n, true, c.GetSlashingProtection()
	for _, pubkey := range held.GetKeys() {
		if size(r.GetReserved()) >= n {
			break
		}
		if k := w.key(pubkey); k.GetReservedBy() == "" {
			k = copyKey(k)
			k.ReservedBy = podName(p)
			w.putKey(k)
			r.Reserved = append(r.Reserved, pubkey)
		}
	}
	mustInsert(w.txn, tableRequests, r)
	w.record("allocation.request", podName(p), plural(int(n), "key")+w.more(", UID %s", p.GetUid())+", behind UID "+held.GetPod().GetUid())
	if held.GetProof() != nil && w.mayFollow(held) {
		w.endRest(held)
	}
}

func (w *write) newRequest(p *fsmpb.Pod, keys uint32) *fsmpb.Request {
	w.meta.NextRequest++
	return &fsmpb.Request{Pod: p, Keys: keys, Seq: w.meta.GetNextRequest(), SinceWallMs: w.cmd.GetWallMs()}
}

// wake gives a pod its own keys back that it had released and that still rest:
// the holder does not change, so no proof is needed.
func (w *write) wake(a *fsmpb.Allocation) *fsmpb.Allocation {
	if a.GetState() != fsmpb.AllocationState_ALLOCATION_STATE_RESTING {
		return a
	}
	a = copyAllocation(a)
	a.State, a.Proof, a.FreeAtMs = fsmpb.AllocationState_ALLOCATION_STATE_HELD, nil, 0
	a.Code, a.Detail, a.LeaseUntilMs, a.LeaseWaitMs = "", "", 0, 0
	a.Fence, a.SinceWallMs = w.nextFence(), w.cmd.GetWallMs()
	for _, pubkey := range a.GetKeys() {
		k := copyKey(w.key(pubkey))
		k.State = fsmpb.KeyState_KEY_STATE_HELD
		w.putKey(k)
	}
	mustInsert(w.txn, tableAllocations, a)
	w.record("allocation.wake", podName(a.GetPod()), plural(len(a.GetKeys()), "key")+w.held(a))
	return a
}

// grantIfReady turns a request whose keys are all free into the pod's allocation.
func (w *write) grantIfReady(r *fsmpb.Request) {
	if r == nil || r.GetBlocked() || r.GetReady() < r.GetWant() {
		return
	}
	a := w.widened(r.GetPod())
	for _, pubkey := range r.GetReserved() {
		w.hold(copyKey(w.key(pubkey)), a, r.GetPod())
	}
	mustDelete(w.txn, tableRequests, r)
	w.granted(r, a)
}

// held says in a record which state of an allocation is meant.
func (w *write) held(a *fsmpb.Allocation) string {
	if !w.audited() {
		return ""
	}
	return ", UID " + a.GetPod().GetUid() + ", fence " + strconv.FormatUint(a.GetFence(), 10)
}
