package ethereum

import (
	"cmp"
	"context"
	"fmt"

	"github.com/ethereum/go-ethereum/rpc"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// mostLosses is how often one deposit may be lost, and its gas with it, before
// no more money is spent on trying.
const mostLosses = 3

// chooseKeys returns the keys whose deposits are to be signed now: the oldest
// that are planned, as many as may be in flight, and none while anything about
// the account or the chain is in doubt.
func (p *pass) chooseKeys(ctx context.Context, view *fsm.View) ([]*fsmpb.Key, error) {
	if w := cmp.Or(p.checkNonces(), p.stopped(view), p.flagsForbid(view), p.brake()); w != nil {
		return nil, w
	}
	if p.account(view).GetUnsettled() {
		return nil, nil // settleAccounts said why
	}
	for _, w := range p.waits {
		if !w.aside && (w.code == ForeignTransaction || w.code == EventMissing || w.code == ReceiptsMissing) {
			return nil, nil // whatever it is, it can not be told twice
		}
	}
	if !p.searched(view, p.world.genesis) {
		return nil, nil // searchSeed said why
	}
	room := p.room(view)
	left, then := p.today(view)
	var keys []*fsmpb.Key
	for d := range view.ToSign() {
		if len(keys) >= room {
			break
		}
		if len(keys) >= left {
			p.wait(then)
			break
		}
		if !p.indexed {
			return nil, waitFor(IndexingEvents, "reading earlier deposits from the chain: block %d of %d", p.duty.events.Status().NextBlock, uint64(p.world.head.Number))
		}
		w, err := p.forbids(ctx, d)
		if err != nil {
			return nil, err
		}
		if w != nil {
			p.wait(w)
			continue
		}
		keys = append(keys, view.Key(d.GetPubkey()))
	}
	return keys, nil
}

// room is how many more deposits may be in flight: signed and not mined.
func (p *pass) room(view *fsm.View) int {
	room := p.duty.cfg.InFlight
	for _, state := range []fsmpb.DepositState{fsmpb.DepositState_DEPOSIT_STATE_SIGNED, fsmpb.DepositState_DEPOSIT_STATE_SENT} {
		for range view.DepositsIn(state) {
			room--
		}
	}
	return room
}

// forbids returns why this one deposit must not be made.
func (p *pass) forbids(ctx context.Context, d *fsmpb.Deposit) (*waiting, error) {
	if n := timesLost(d); n >= mostLosses {
		return waitFor(ContractReverts, "the deposit for 0x%x was lost %d times, the last time because: %s", d.GetPubkey(), n, d.GetLosses()[len(d.GetLosses())-1].GetReason()), nil
	}
	events, err := p.duty.events.seen(validator.PublicKey(d.GetPubkey()))
	if err != nil {
		return nil, err
	}
	for _, at := range events {
		gone, err := p.gone(ctx, at.place)
		if err != nil {
			return nil, err
		}
		if !gone {
			return waitFor(ForeignDeposit, "the chain holds a deposit for 0x%x that is not ours, in transaction %s of block %d: paying again would only top it up; once that is final another key takes its place",
				d.GetPubkey(), at.TxHash, at.BlockNumber), nil
		}
	}
	return nil, nil
}

// timesLost counts the nonces that were lost: attempts with several fees are
// lost together.
func timesLost(d *fsmpb.Deposit) int {
	n := 0
	for i, l := range d.GetLosses() {
		if i == 0 || l.GetNonce() != d.GetLosses()[i-1].GetNonce() {
			n++
		}
	}
	return n
}

// gone reports whether it is final that the block in which an event was seen is
// not part of the chain.
func (p *pass) gone(ctx context.Context, at place) (bool, error) {
	if !p.world.isFinal(at.BlockNumber) {
		return false, nil
	}
	var now *block
	if err := p.duty.client.all(ctx, getBlock(at.BlockNumber, &now)); err != nil {
		return false, fmt.Errorf("block %d: %w", at.BlockNumber, err)
	}
	return now != nil && now.Hash != at.BlockHash, nil
}

// rehearse has the client run the deposits without paying, and drops those that
// would be reverted or need more gas than they get.
func (p *pass) rehearse(ctx context.Context, payments []payment) ([]payment, error) {
	estimates := make([]quantity, len(payments))
	calls := make([]rpc.BatchElem, len(payments))
	for i, pay := range payments {
		calls[i] = estimate(p.duty.cfg, pay, &estimates[i])
	}
	if err := p.duty.client.batch(ctx, calls); err != nil {
		return nil, err
	}
	var good []payment
	for i, pay := range payments {
		switch err := calls[i].Error; {
		case err != nil:
			p.wait(waitFor(ContractReverts, "the deposit for %s would fail: %v", pay.data.PublicKey, err))
		case uint64(estimates[i]) > gasEnough:
			p.wait(waitFor(ContractReverts, "the deposit for %s would need %d gas, of which no more than %d is expected", pay.data.PublicKey, uint64(estimates[i]), uint64(gasEnough)))
		default:
			good = append(good, pay)
		}
	}
	return good, nil
}
