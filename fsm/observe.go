package fsm

import (
	"bytes"
	"slices"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// observeDeposits moves deposits along as the leader saw them on the chain. An
// observation that the state has already passed, or that is about other bytes
// than those that were logged, is left out: repeats and late reports are harmless.
func (w *write) observeDeposits(c *fsmpb.ObserveDeposits) Result {
	var freed []*fsmpb.Key
	var sent, mined []string
	gone := newRetirement()
	for _, o := range c.GetObservations() {
		old := w.deposit(o.GetPubkey())
		if old == nil || w.mayBeOurs(o) {
			continue
		}
		d := copyDeposit(old)
		if !observe(d, o) {
			continue
		}
		if o.GetKind() == fsmpb.Observation_KIND_FOREIGN {
			w.retire(gone, w.key(old.GetPubkey()), RetiredForeign, o.GetReason())
			continue
		}
		w.putDeposit(d)
		switch o.GetKind() {
		case fsmpb.Observation_KIND_FINAL:
			w.record("deposit.final", hexName(d.GetPubkey()), hexName(d.GetTxHash()))
			if k := w.key(d.GetPubkey()); k.GetState() != fsmpb.KeyState_KEY_STATE_RETIRED {
				freed = append(freed, copyKey(k))
			}
		case fsmpb.Observation_KIND_LOST:
			w.record("deposit.lost", hexName(d.GetPubkey()), brief(o.GetReason()))
			w.stopsAccount(d, o)
			if k := w.key(d.GetPubkey()); k.GetRestored() {
				w.retire(gone, k, RetiredRestored, "its deposit was lost, and what was signed for it after the backup is not known")
			}
		case fsmpb.Observation_KIND_UNMINED:
			w.record("deposit.unmined", hexName(d.GetPubkey()), brief(o.GetReason()))
		case fsmpb.Observation_KIND_SENT:
			sent = append(sent, hexName(d.GetPubkey()))
		case fsmpb.Observation_KIND_MINED:
			mined = append(mined, hexName(d.GetPubkey()))
		case fsmpb.Observation_KIND_UNSPECIFIED, fsmpb.Observation_KIND_FOREIGN:
		}
	}
	w.noteSeen("deposits.sent", sent)
	w.noteSeen("deposits.mined", mined)
	w.dropOut(gone)
	w.free(freed)
	return Result{}
}

// mayBeOurs reports whether a transaction of the history that was lost can be what
// makes a deposit look lost, or paid for by somebody else.
func (w *write) mayBeOurs(o *fsmpb.Observation) bool {
	return isRestoreOpen(w.meta) && (o.GetKind() == fsmpb.Observation_KIND_LOST || o.GetKind() == fsmpb.Observation_KIND_FOREIGN)
}

// noteSeen leaves one record for all deposits that came one step further: there
// may be hundreds at a time, and the chain itself tells more.
func (w *write) noteSeen(action string, pubkeys []string) {
	if len(pubkeys) > 0 {
		w.note(action, "", "%s: %s", plural(len(pubkeys), "deposit"), briefList(pubkeys))
	}
}

const blockHashLength = 32

// observe changes the deposit if the observation fits it.
func observe(d *fsmpb.Deposit, o *fsmpb.Observation) bool {
	if !fits(d, o) {
		return false
	}
	switch o.GetKind() {
	case fsmpb.Observation_KIND_SENT:
		d.State = fsmpb.DepositState_DEPOSIT_STATE_SENT
	case fsmpb.Observation_KIND_MINED:
		d.State, d.TxHash = fsmpb.DepositState_DEPOSIT_STATE_MINED, o.GetTxHash()
		d.BlockNumber, d.BlockHash = o.GetBlockNumber(), o.GetBlockHash()
	case fsmpb.Observation_KIND_UNMINED:
		d.State = fsmpb.DepositState_DEPOSIT_STATE_SENT
		d.TxHash, d.BlockNumber, d.BlockHash = nil, 0, nil
	case fsmpb.Observation_KIND_FINAL:
		d.State = fsmpb.DepositState_DEPOSIT_STATE_FINAL
		for i, a := range d.GetAttempts() {
			d.Attempts[i] = &fsmpb.Attempt{Nonce: a.GetNonce(), TxHash: a.GetTxHash(), FeeCapWei: a.GetFeeCapWei(), TipWei: a.GetTipWei()}
		}
	case fsmpb.Observation_KIND_LOST:
		planAgain(d, brief(o.GetReason()))
	case fsmpb.Observation_KIND_UNSPECIFIED, fsmpb.Observation_KIND_FOREIGN:
	}
	return true
}

// fits reports whether an observation is about the bytes or the block that the
// deposit knows, and says something that it does not know yet.
func fits(d *fsmpb.Deposit, o *fsmpb.Observation) bool {
	var (
		ours      = logged(d, o.GetTxHash())
		sameBlock = bytes.Equal(d.GetBlockHash(), o.GetBlockHash())
		signed    = d.GetState() == fsmpb.DepositState_DEPOSIT_STATE_SIGNED
		pending   = isPending(d)
		mined     = d.GetState() == fsmpb.DepositState_DEPOSIT_STATE_MINED
	)
	switch o.GetKind() {
	case fsmpb.Observation_KIND_SENT:
		return signed && ours
	case fsmpb.Observation_KIND_MINED:
		return (pending || mined) && ours && !sameBlock && len(o.GetBlockHash()) == blockHashLength
	case fsmpb.Observation_KIND_UNMINED, fsmpb.Observation_KIND_FINAL:
		return mined && sameBlock
	case fsmpb.Observation_KIND_LOST:
		return pending && ours
	case fsmpb.Observation_KIND_FOREIGN:
		return isPlanned(d)
	default:
		return false
	}
}

// logged reports whether the transaction is one of the deposit's attempts.
func logged(d *fsmpb.Deposit, txHash []byte) bool {
	return slices.ContainsFunc(d.GetAttempts(), func(a *fsmpb.Attempt) bool {
		return bytes.Equal(a.GetTxHash(), txHash)
	})
}

// planAgain records that none of the attempts can ever land.
func planAgain(d *fsmpb.Deposit, reason string) {
	for _, a := range d.GetAttempts() {
		d.Losses = append(d.Losses, &fsmpb.Loss{
			Nonce: a.GetNonce(), TxHash: a.GetTxHash(), Reason: reason,
			ChainId: d.GetChainId(), Account: d.GetAccount(),
		})
	}
	d.State, d.Attempts = fsmpb.DepositState_DEPOSIT_STATE_PLANNED, nil
}
