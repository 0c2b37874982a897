package ethereum

import (
	"context"
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// mindForeign deals with transactions of the funding account that are not ours
// and have used nonces beyond ours: it stops the account, and once an operator
// has resumed, and they are final, goes on behind them.
func (p *pass) mindForeign(ctx context.Context) error {
	account := p.account(p.view)
	used := p.world.latest
	if account == nil || used <= account.GetNextNonce() {
		return nil
	}
	if used > max(account.GetStop().GetNonce(), account.GetResumedNonce()) {
		return p.stop(ctx, account)
	}
	if account.GetStop() != nil || !p.world.hasFinal {
		return nil // chooseKeys says so
	}
	return p.advance(ctx, account)
}

// stop has the account stopped until an operator resumes.
func (p *pass) stop(ctx context.Context, account *fsmpb.Account) error {
	address, used := p.duty.cfg.Funding.Address(), p.world.latest
	reason := fmt.Sprintf("something else uses the funding account %s: the chain holds its transactions up to nonce %d, ours end before %d; find out who has the account's key, then run keysteward deposits resume to go on behind them, or give Keysteward an account of its own with --funding-keystore",
		address, used-1, account.GetNextNonce())
	_, err := p.session.Propose(ctx, &fsmpb.Command{Body: &fsmpb.Command_StopAccount{StopAccount: &fsmpb.StopAccount{
		ChainId: account.GetChainId(), Account: account.GetAddress(), Stop: &fsmpb.Stop{Reason: reason, Nonce: used},
	}}})
	if errors.Is(err, fsm.Refused(fsm.StaleNonce)) {
		return nil // the operator was faster
	}
	if err != nil {
		return fmt.Errorf("stop the funding account %s: %w", address, err)
	}
	p.duty.log.Error("deposits are stopped until an operator resumes", "reason", reason)
	return nil
}

// advance gives up the nonces of foreign transactions that are final, as far as
// an operator knew of them. It ends the pass: what this one read is of before.
func (p *pass) advance(ctx context.Context, account *fsmpb.Account) error {
	address := p.duty.cfg.Funding.Address()
	var used hexutil.Uint64
	if err := p.duty.client.all(ctx, getNonce(address, p.world.final, &used)); err != nil {
		return err
	}
	from, to := account.GetNextNonce(), min(uint64(used), account.GetResumedNonce())
	if to <= from {
		return nil
	}
	_, err := p.session.Propose(ctx, &fsmpb.Command{Body: &fsmpb.Command_AdvanceNonce{AdvanceNonce: &fsmpb.AdvanceNonce{
		ChainId: account.GetChainId(), Account: account.GetAddress(), From: from, To: to,
	}}})
	if err != nil {
		return fmt.Errorf("go on with nonce %d of the funding account %s: %w", to, address, err)
	}
	p.duty.log.Warn("nonces that something else used were given up", "account", address, "from", from, "to", to)
	return p.goOnBehind(account)
}

// goOnBehind says what new deposits wait for while the chain holds transactions
// beyond ours.
func (p *pass) goOnBehind(account *fsmpb.Account) *waiting {
	if now := p.account(p.session.View()); now.GetStop() != nil {
		return waitFor(Stopped, "%s", now.GetStop().GetReason())
	}
	return waitFor(ForeignTransaction, "something else used the funding account %s; deposits go on with nonce %d when its transactions before that are final",
		p.duty.cfg.Funding.Address(), account.GetResumedNonce())
}
