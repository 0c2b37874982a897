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
	for _, o := range c.GetObservations() {
		old := w.deposit(o.GetPubkey())
		if old == nil {
			continue
		}
		d := copyDeposit(old)
		if !observe(d, o) {
			continue
		}
		w.putDeposit(d)
		switch o.GetKind() {
		case fsmpb.Observation_KIND_FINAL:
			w.record("deposit.final", hexName(d.GetPubkey()), hexName(d.GetTxHash()))
			freed = append(freed, copyKey(w.key(d.GetPubkey())))
		case fsmpb.Observation_KIND_LOST:
			w.record("deposit.lost", hexName(d.GetPubkey()), brief(o.GetReason()))
		case fsmpb.Observation_KIND_UNMINED:
			w.record("deposit.unmined", hexName(d.GetPubkey()), brief(o.GetReason()))
		case fsmpb.Observation_KIND_UNSPECIFIED, fsmpb.Observation_KIND_SENT, fsmpb.Observation_KIND_MINED:
		}
	}
	w.free(freed)
	return Result{}
}

const blockHashLength = 32

// observe changes the deposit if the observation fits its state.
func observe(d *fsmpb.Deposit, o *fsmpb.Observation) bool {
	const (
		signed = fsmpb.DepositState_DEPOSIT_STATE_SIGNED
		sent   = fsmpb.DepositState_DEPOSIT_STATE_SENT
		mined  = fsmpb.DepositState_DEPOSIT_STATE_MINED
	)
	in := func(states ...fsmpb.DepositState) bool { return slices.Contains(states, d.GetState()) }
	switch o.GetKind() {
	case fsmpb.Observation_KIND_SENT:
		if !in(signed) || !logged(d, o.GetTxHash()) {
			return false
		}
		d.State = sent
	case fsmpb.Observation_KIND_MINED:
		if !in(signed, sent, mined) || !logged(d, o.GetTxHash()) || len(o.GetBlockHash()) != blockHashLength || bytes.Equal(d.GetBlockHash(), o.GetBlockHash()) {
			return false
		}
		d.State, d.TxHash = mined, o.GetTxHash()
		d.BlockNumber, d.BlockHash = o.GetBlockNumber(), o.GetBlockHash()
	case fsmpb.Observation_KIND_UNMINED:
		if !in(mined) || !bytes.Equal(d.GetBlockHash(), o.GetBlockHash()) {
			return false
		}
		d.State, d.TxHash, d.BlockNumber, d.BlockHash = sent, nil, 0, nil
	case fsmpb.Observation_KIND_FINAL:
		if !in(mined) || !bytes.Equal(d.GetBlockHash(), o.GetBlockHash()) {
			return false
		}
		d.State = fsmpb.DepositState_DEPOSIT_STATE_FINAL
		for i, a := range d.GetAttempts() {
			d.Attempts[i] = &fsmpb.Attempt{Nonce: a.GetNonce(), TxHash: a.GetTxHash(), FeeCapWei: a.GetFeeCapWei(), TipWei: a.GetTipWei()}
		}
	case fsmpb.Observation_KIND_LOST:
		if !in(signed, sent) || !logged(d, o.GetTxHash()) {
			return false
		}
		planAgain(d, brief(o.GetReason()))
	default:
		return false
	}
	return true
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
