package fsm

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// stopAccount keeps that something else uses a funding account. What is known
// already, because an operator resumed in spite of it or because the next nonce
// is beyond it, is refused, so that a late repeat stops nothing again.
func (w *write) stopAccount(c *fsmpb.StopAccount) Result {
	a := w.account(c.GetChainId(), c.GetAccount())
	if a == nil {
		return Result{Refusal: refuse(NotFound, "account %x on chain %d is not open", c.GetAccount(), c.GetChainId())}
	}
	nonce := c.GetStop().GetNonce()
	if c.GetStop().GetReason() == "" || nonce > maxNonce {
		return Result{Refusal: refuse(Invalid, "a stop needs a reason and a nonce below 2^63")}
	}
	if known := max(a.GetNextNonce(), a.GetResumedNonce()); nonce <= known {
		return Result{Refusal: refuse(StaleNonce, "a transaction of somebody else below nonce %d: that was known up to %d", nonce, known)}
	}
	w.stop(a, c.GetStop().GetReason(), nonce)
	return Result{}
}

// stop stops an account, or adds what more was seen to a stop.
func (w *write) stop(a *fsmpb.Account, reason string, nonce uint64) {
	since := w.cmd.GetWallMs()
	if old := a.GetStop(); old != nil {
		if nonce <= old.GetNonce() {
			return
		}
		since = old.GetSinceWallMs()
	}
	a = proto.CloneOf(a)
	a.Stop = &fsmpb.Stop{Reason: brief(reason), Nonce: nonce, SinceWallMs: since}
	mustInsert(w.txn, tableAccounts, a)
	w.record("account.stop", hexName(a.GetAddress()), a.GetStop().GetReason())
}

// resumeDeposits ends an account's stop, and lets the nonces that it named be
// given up. A stop that tells of more than the operator saw stays; where nothing
// is stopped nothing changes, so the word may be repeated.
func (w *write) resumeDeposits(c *fsmpb.ResumeDeposits) Result {
	a := w.account(c.GetChainId(), c.GetAccount())
	if a == nil {
		return Result{Refusal: refuse(NotFound, "account %x on chain %d is not open", c.GetAccount(), c.GetChainId())}
	}
	stop := a.GetStop()
	if stop == nil {
		return Result{}
	}
	if n := stop.GetNonce(); n > c.GetNonce() {
		return Result{Refusal: refuse(StaleNonce, "the stop of account %x tells of nonces below %d, the word to resume of those below %d: %s", a.GetAddress(), n, c.GetNonce(), stop.GetReason())}
	}
	a = proto.CloneOf(a)
	if n := stop.GetNonce(); n > a.GetNextNonce() {
		a.ResumedNonce = max(a.GetResumedNonce(), n)
	}
	a.Stop = nil
	mustInsert(w.txn, tableAccounts, a)
	w.record("deposits.resume", hexName(a.GetAddress()), stop.GetReason())
	return Result{}
}

// advanceNonce gives up nonces that the chain used for transactions of somebody
// else. It uses up the operator's resume: for what comes later there has to be
// another.
func (w *write) advanceNonce(c *fsmpb.AdvanceNonce) Result {
	a := w.account(c.GetChainId(), c.GetAccount())
	switch {
	case a == nil:
		return Result{Refusal: refuse(NotFound, "account %x on chain %d is not open", c.GetAccount(), c.GetChainId())}
	case c.GetFrom() != a.GetNextNonce():
		return Result{Refusal: refuse(StaleNonce, "advance from nonce %d: the next one is %d", c.GetFrom(), a.GetNextNonce())}
	case c.GetTo() <= c.GetFrom():
		return Result{Refusal: refuse(Invalid, "advance from nonce %d to %d", c.GetFrom(), c.GetTo())}
	case a.GetStop() != nil || c.GetTo() > a.GetResumedNonce():
		return Result{Refusal: refuse(AccountStopped, "advance to nonce %d: no operator resumed knowing of more than those below %d", c.GetTo(), a.GetResumedNonce())}
	}
	if d := w.holderOfNonce(a, c.GetFrom()); d != nil {
		return Result{Refusal: refuse(StaleNonce, "advance from nonce %d: the deposit for %x was signed with it or a later one", c.GetFrom(), d.GetPubkey())}
	}
	a = proto.CloneOf(a)
	a.GivenUp = append(a.GetGivenUp(), &fsmpb.NonceRange{First: c.GetFrom(), Last: c.GetTo() - 1})
	w.moveNonce(a, c.GetTo())
	w.record("account.advance", hexName(a.GetAddress()), fmt.Sprintf("nonces %d to %d were used by somebody else", c.GetFrom(), c.GetTo()-1))
	return Result{}
}

// moveNonce sets an account's next nonce. A resume that it has passed is used up.
func (w *write) moveNonce(a *fsmpb.Account, next uint64) {
	a = proto.CloneOf(a)
	if a.NextNonce = next; next >= a.GetResumedNonce() {
		a.ResumedNonce = 0
	}
	mustInsert(w.txn, tableAccounts, a)
}

// holderOfNonce returns a deposit under way of the account that holds an attempt
// at this nonce or a later one. Nonces below the next one never qualify, so this
// is a second lock on a door that is closed.
func (w *write) holderOfNonce(a *fsmpb.Account, nonce uint64) *fsmpb.Deposit {
	for _, state := range []fsmpb.DepositState{
		fsmpb.DepositState_DEPOSIT_STATE_SIGNED, fsmpb.DepositState_DEPOSIT_STATE_SENT, fsmpb.DepositState_DEPOSIT_STATE_MINED,
	} {
		for d := range rows[*fsmpb.Deposit](w.txn, tableDeposits, indexState, stateKey(state)...) {
			ofAccount := string(accountKey(d.GetChainId(), d.GetAccount())) == string(accountKey(a.GetChainId(), a.GetAddress()))
			if ofAccount && d.GetAttempts()[0].GetNonce() >= nonce {
				return d
			}
		}
	}
	return nil
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
