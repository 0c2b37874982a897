package fsm

import (
	"bytes"
	"slices"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// retire takes a key whose deposit is planned out of use for good. The request
// that reserved it lacks a key then, which settle finds. A deposit that was lost
// before is kept: it is part of the account of the nonces.
func (w *write) retire(d *fsmpb.Deposit, reason string) {
	k := copyKey(w.key(d.GetPubkey()))
	if r := w.requestOf(k); r != nil {
		r = copyRequest(r)
		r.Reserved = slices.DeleteFunc(r.GetReserved(), func(b []byte) bool { return bytes.Equal(b, k.GetPubkey()) })
		mustInsert(w.txn, tableRequests, r)
	}
	if isUnpaid(d) {
		w.deleteDeposit(d)
	}
	k.State, k.ReservedBy, k.RetiredReason = fsmpb.KeyState_KEY_STATE_RETIRED, "", brief(reason)
	w.putKey(k)
	w.record("key.retire", hexName(k.GetPubkey()), k.GetRetiredReason())
}

// stopsAccount stops the account of a deposit that was lost to a transaction of
// somebody else, in the same step: nothing is signed between the two.
func (w *write) stopsAccount(lost *fsmpb.Deposit, o *fsmpb.Observation) {
	a := w.account(lost.GetChainId(), lost.GetAccount())
	if !o.GetForeignTransaction() || a == nil {
		return
	}
	losses := lost.GetLosses()
	w.stop(a, o.GetReason(), losses[len(losses)-1].GetNonce()+1)
}
