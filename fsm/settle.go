package fsm

import (
	"bytes"
	"slices"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// settle hands out what is there, the oldest request first: keys of the pool,
// then keys whose stake is on its way for nobody any more, then generated ones.
// What is left of the first two takes the place of keys whose deposit was not
// signed yet, because it costs nothing more. Every swap gives up one such
// deposit and plans none, so this comes to an end.
//
// In the end the pool is stocked, which comes after all requests.
func (w *write) settle() {
	w.serve()
	w.stock()
}

func (w *write) serve() {
	for {
		r := lowest[*fsmpb.Request](w.txn, tableRequests, indexUnfilled)
		if r == nil || !w.fill(copyRequest(r)) {
			break
		}
	}
	for {
		d := w.firstUnpaid()
		if d == nil {
			return
		}
		k := w.firstPaid()
		if k == nil {
			return
		}
		w.swap(d, k)
	}
}

// firstPaid returns a key that nobody waits for and that needs no further
// stake: one of the pool, else one whose stake is on its way. A key whose stake
// was lost would have to be paid for again and is none.
func (w *write) firstPaid() *fsmpb.Key {
	if k := lowest[*fsmpb.Key](w.txn, tableKeys, indexPool); k != nil {
		return k
	}
	for k := range rows[*fsmpb.Key](w.txn, tableKeys, indexLoose) {
		if !isPlanned(w.deposit(k.GetPubkey())) {
			return k
		}
	}
	return nil
}

// fill reserves keys for the request until it has all or there are no more,
// and reports whether it has all.
func (w *write) fill(r *fsmpb.Request) bool {
	for len(r.GetReserved()) < int(r.GetWant()) {
		k := w.firstAvailable()
		if k == nil {
			break
		}
		k = copyKey(k)
		k.ReservedBy = podName(r.GetPod())
		switch k.GetState() {
		case fsmpb.KeyState_KEY_STATE_FREE:
			r.Ready++
		case fsmpb.KeyState_KEY_STATE_GENERATED:
			k.State = fsmpb.KeyState_KEY_STATE_DEPOSITING
			w.planDeposit(k.GetPubkey())
		default: // its stake is on its way
		}
		w.putKey(k)
		r.Reserved = append(r.Reserved, k.GetPubkey())
	}
	mustInsert(w.txn, tableRequests, r)
	full := len(r.GetReserved()) == int(r.GetWant())
	w.grantIfReady(r)
	return full
}

func (w *write) firstAvailable() *fsmpb.Key {
	for _, index := range []string{indexPool, indexLoose, indexSpare} {
		if k := lowest[*fsmpb.Key](w.txn, tableKeys, index); k != nil {
			return k
		}
	}
	return nil
}

// swap puts a key that is paid for in the place of one whose deposit is only planned.
func (w *write) swap(d *fsmpb.Deposit, paid *fsmpb.Key) {
	unpaid := copyKey(w.key(d.GetPubkey()))
	r := copyRequest(w.requestOf(unpaid))
	at := slices.IndexFunc(r.GetReserved(), func(b []byte) bool { return bytes.Equal(b, unpaid.GetPubkey()) })
	r.Reserved[at] = paid.GetPubkey()
	if paid.GetState() == fsmpb.KeyState_KEY_STATE_FREE {
		r.Ready++
	}
	paid = copyKey(paid)
	paid.ReservedBy = unpaid.GetReservedBy()
	w.putKey(paid)
	w.unreserve(unpaid)
	mustInsert(w.txn, tableRequests, r)
	w.grantIfReady(r)
}

// unreserve lets go of a key that was reserved: a deposit that was never signed
// is not made, one that is on its way goes on and the key becomes free for all.
func (w *write) unreserve(k *fsmpb.Key) {
	k.ReservedBy = ""
	if d := w.deposit(k.GetPubkey()); d != nil && isUnpaid(d) {
		w.deleteDeposit(d)
		k.State = fsmpb.KeyState_KEY_STATE_GENERATED
	}
	w.putKey(k)
}

// trim lets go of reserved keys beyond those that the request wants.
func (w *write) trim(r *fsmpb.Request) {
	if size(r.GetReserved()) <= r.GetWant() {
		return
	}
	r = copyRequest(r)
	for _, pubkey := range r.GetReserved()[r.GetWant():] {
		k := copyKey(w.key(pubkey))
		if k.GetState() == fsmpb.KeyState_KEY_STATE_FREE {
			r.Ready--
		}
		w.unreserve(k)
	}
	r.Reserved = r.Reserved[:r.GetWant()]
	mustInsert(w.txn, tableRequests, r)
}

// withdraw forgets a request and hands what it reserved to those that wait.
func (w *write) withdraw(r *fsmpb.Request) {
	mustDelete(w.txn, tableRequests, r)
	for _, pubkey := range r.GetReserved() {
		w.unreserve(copyKey(w.key(pubkey)))
	}
	w.record("allocation.withdraw", podName(r.GetPod()), plural(int(r.GetWant()), "key")+w.more(", UID %s", r.GetPod().GetUid()))
	w.settle()
}

// free makes keys usable: for the requests that reserve them, else for the pool.
// While a restore is open they rest on: the history that was lost may have handed
// them out.
func (w *write) free(keys []*fsmpb.Key) {
	if isRestoreOpen(w.meta) {
		for _, k := range keys {
			w.restAlone(k)
		}
		return
	}
	ready := make(map[string]uint32)
	var waiting []*fsmpb.Request
	for _, k := range keys {
		k.State, k.Restored = fsmpb.KeyState_KEY_STATE_FREE, false
		w.putKey(k)
		if r := w.requestOf(k); r != nil {
			if ready[k.GetReservedBy()]++; ready[k.GetReservedBy()] == 1 {
				waiting = append(waiting, r)
			}
		}
	}
	for _, r := range waiting {
		r = copyRequest(r)
		r.Ready += ready[podName(r.GetPod())]
		mustInsert(w.txn, tableRequests, r)
		w.grantIfReady(r)
	}
	w.settle()
}
