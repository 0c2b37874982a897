package fsm

import (
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// MaxAttempts bounds the transactions of one deposit: each is more expensive
// than the one before, so more than this many would be a fault.
const MaxAttempts = 64

// replaceDeposit logs another transaction of a deposit before it is sent. It has
// the nonce of the others, so the chain runs one of them; any of them may still
// be the one, so all are kept.
func (w *write) replaceDeposit(c *fsmpb.ReplaceDeposit) Result {
	d, a := w.deposit(c.GetPubkey()), c.GetAttempt()
	if d == nil || !isPending(d) {
		return Result{Refusal: refuse(NotPending, "the deposit for %x is not on its way to a block", c.GetPubkey())}
	}
	last := d.GetAttempts()[len(d.GetAttempts())-1]
	switch {
	case a.GetNonce() != last.GetNonce():
		return Result{Refusal: refuse(StaleNonce, "nonce %d: the deposit for %x has nonce %d", a.GetNonce(), c.GetPubkey(), last.GetNonce())}
	case a.GetFeeCapWei() <= last.GetFeeCapWei() || a.GetTipWei() <= last.GetTipWei():
		return Result{Refusal: refuse(Invalid, "the deposit for %x offers a cap of %d and a tip of %d wei per gas already", c.GetPubkey(), last.GetFeeCapWei(), last.GetTipWei())}
	case len(a.GetRaw()) == 0 || len(a.GetRaw()) > maxRaw || len(a.GetTxHash()) != 32 || logged(d, a.GetTxHash()):
		return Result{Refusal: refuse(Invalid, "the transaction for %x has %d bytes and the hash %x", c.GetPubkey(), len(a.GetRaw()), a.GetTxHash())}
	case len(d.GetAttempts()) >= MaxAttempts:
		return Result{Refusal: refuse(Invalid, "the deposit for %x was replaced %d times", c.GetPubkey(), len(d.GetAttempts())-1)}
	}
	d = copyDeposit(d)
	d.Attempts = append(d.GetAttempts(), a)
	w.putDeposit(d)
	w.record("deposit.replace", hexName(d.GetPubkey()), hexName(a.GetTxHash()))
	return Result{}
}

// isPending reports whether the deposit was signed and is in no block.
func isPending(d *fsmpb.Deposit) bool {
	return d.GetState() == fsmpb.DepositState_DEPOSIT_STATE_SIGNED || d.GetState() == fsmpb.DepositState_DEPOSIT_STATE_SENT
}
