package fsm

import (
	"slices"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Reasons for which keys are retired.
const (
	RetiredExited    = "exited"
	RetiredSlashed   = "slashed"
	RetiredWithdrawn = "withdrawn"
	// RetiredForeign: somebody else deposited for the key, so its stake may be
	// withdrawn to where we do not know.
	RetiredForeign = "foreign"
	// RetiredRestored: the deposit that a backup brought can never land, and what was
	// signed for the key after the backup is not known: signing anew could pay twice.
	RetiredRestored = "restored"
	// RetiredOperator: somebody said so, and why.
	RetiredOperator = "operator"
)

// retireKeys takes keys out of use for good. Its value is nil. Keys that are
// retired already stay as they are, so a repeat is safe. A key that is held
// leaves its allocation, one that is reserved leaves its request, which takes
// another; a deposit that was signed goes on, one that was not is not made.
func (w *write) retireKeys(c *fsmpb.RetireKeys) Result {
	if no := w.checkRetirement(c); no != nil {
		return Result{Refusal: no}
	}
	g := newRetirement()
	for _, pubkey := range c.GetPubkeys() {
		w.retire(g, w.key(pubkey), c.GetReason(), c.GetDetail())
	}
	w.dropOut(g)
	w.settle()
	return Result{}
}

// checkRetirement refuses a command that would retire something by mistake.
func (w *write) checkRetirement(c *fsmpb.RetireKeys) *Refusal {
	if !slices.Contains([]string{RetiredExited, RetiredSlashed, RetiredWithdrawn, RetiredOperator}, c.GetReason()) {
		return refuse(Invalid, "%q is no reason to retire a key", brief(c.GetReason()))
	}
	for _, pubkey := range c.GetPubkeys() {
		k := w.key(pubkey)
		if k == nil {
			return refuse(NotFound, "the cluster has no key %s", hexName(pubkey))
		}
		if c.GetReason() != RetiredOperator || c.GetForce() {
			continue
		}
		if why := w.inUse(k); why != "" {
			return refuse(KeyInUse, "key %s %s", hexName(pubkey), why)
		}
	}
	return nil
}

// inUse says what would suffer if the key were retired; it is empty if nothing would.
func (w *write) inUse(k *fsmpb.Key) string {
	switch k.GetState() {
	case fsmpb.KeyState_KEY_STATE_HELD:
		return "is held by pod " + podName(k.GetHolder()) + ", which may be signing with it"
	case fsmpb.KeyState_KEY_STATE_RESTING:
		return "rests: it is not proven yet that nobody signs with it"
	case fsmpb.KeyState_KEY_STATE_DEPOSITING:
		if !isUnpaid(w.deposit(k.GetPubkey())) {
			return "has a deposit on its way, which can not be stopped"
		}
	case fsmpb.KeyState_KEY_STATE_UNSPECIFIED, fsmpb.KeyState_KEY_STATE_GENERATED,
		fsmpb.KeyState_KEY_STATE_FREE, fsmpb.KeyState_KEY_STATE_RETIRED:
	}
	return ""
}

// retirement is what keys were part of when they were retired, in the order of
// the command, so that every machine does the same.
type retirement struct {
	gone     map[string]bool // public keys
	requests []*fsmpb.Pod
	holders  []*fsmpb.Pod
}

func newRetirement() *retirement { return &retirement{gone: make(map[string]bool)} }

func (g *retirement) add(was *fsmpb.Key) {
	g.gone[string(was.GetPubkey())] = true
	if p := reserverOf(was); p != nil {
		g.requests = addPod(g.requests, p)
	}
	if p := was.GetHolder(); p != nil {
		g.holders = addPod(g.holders, p)
	}
}

// addPod adds a pod whose name is not listed yet.
func addPod(list []*fsmpb.Pod, p *fsmpb.Pod) []*fsmpb.Pod {
	if slices.ContainsFunc(list, func(q *fsmpb.Pod) bool { return podName(q) == podName(p) }) {
		return list
	}
	return append(list, p)
}

// retire ends the life of one key, unless it has ended. This is the only way in
// which a key becomes retired, whatever the reason. What lists it is mended by
// dropOut, which has to follow.
func (w *write) retire(g *retirement, was *fsmpb.Key, reason, detail string) {
	if was.GetState() == fsmpb.KeyState_KEY_STATE_RETIRED {
		return
	}
	g.add(was)
	if d := w.deposit(was.GetPubkey()); d != nil && isUnpaid(d) {
		w.deleteDeposit(d)
	}
	k := copyKey(was)
	k.State, k.Holder, k.ReservedBy = fsmpb.KeyState_KEY_STATE_RETIRED, nil, ""
	k.Proof, k.FreeAtMs = nil, 0 // of a rest since an import or a restore, which is over with it
	k.Restored = false
	k.RetiredReason, k.RetiredDetail = reason, brief(detail)
	w.putKey(k)
	w.recordRetirement(was, k)
}

// recordRetirement leaves in the audit log who had the key: nothing else tells it
// from now on, and its validator may still be running.
func (w *write) recordRetirement(was, k *fsmpb.Key) {
	detail := k.GetRetiredReason() + ": " + k.GetRetiredDetail()
	if h := was.GetHolder(); h != nil {
		detail += "; held by " + podName(h) + " with UID " + h.GetUid()
	}
	w.record("key.retire", hexName(k.GetPubkey()), detail)
}

// dropOut takes keys that were retired out of the requests and allocations that
// list them.
func (w *write) dropOut(g *retirement) {
	for _, p := range g.requests {
		w.dropReserved(p, g.gone)
	}
	for _, p := range g.holders {
		w.dropHeld(p, g.gone)
	}
}

// dropReserved takes retired keys out of a request, which then lacks as many.
func (w *write) dropReserved(p *fsmpb.Pod, gone map[string]bool) {
	r := copyRequest(w.request(p))
	r.Reserved = slices.DeleteFunc(r.Reserved, func(pubkey []byte) bool { return gone[string(pubkey)] })
	r.Ready = 0
	for _, pubkey := range r.GetReserved() {
		if w.key(pubkey).GetState() == fsmpb.KeyState_KEY_STATE_FREE {
			r.Ready++
		}
	}
	mustInsert(w.txn, tableRequests, r)
}

// dropHeld takes retired keys out of an allocation. The others keep their order
// and their holder, under a new fence; an allocation without keys is none. What
// the pod itself still waits for grows, so that it gets all that it asked for.
func (w *write) dropHeld(p *fsmpb.Pod, gone map[string]bool) {
	a := copyAllocation(w.allocation(p))
	had := size(a.GetKeys())
	a.Keys = slices.DeleteFunc(a.Keys, func(pubkey []byte) bool { return gone[string(pubkey)] })
	if r := w.request(p); r != nil && !r.GetBlocked() {
		r = copyRequest(r)
		r.Want += had - size(a.GetKeys())
		mustInsert(w.txn, tableRequests, r)
	}
	if len(a.GetKeys()) == 0 {
		mustDelete(w.txn, tableAllocations, a)
		w.unblock(p)
		return
	}
	a.Fence, a.SinceWallMs = w.nextFence(), w.cmd.GetWallMs()
	mustInsert(w.txn, tableAllocations, a)
}
