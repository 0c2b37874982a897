package ethereum

import (
	"context"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// steps are those of a pass on a chain, in order. While a restore is open no deposit is
// begun, lost or foreign, because the history that was lost may be behind it; what was
// signed is sent again, with higher fees at its nonce if it is stuck, because accounts
// are settled only when it is final; and what it needs to be confirmed is found out.
func (p *pass) steps() []func(context.Context) error {
	if p.view.RestoreOpen() {
		return []func(context.Context) error{
			p.look, p.watch, p.replaceStuck, p.send, p.openAccount, p.settleAccounts, p.readEvents,
			p.searchSeed, p.recordFinal, p.tellUnconfirmed,
		}
	}
	return []func(context.Context) error{
		p.look, p.watch, p.replaceStuck, p.send, p.openAccount, p.settleAccounts, p.mindForeign,
		p.readEvents, p.searchSeed, p.retireForeign, p.findPaid, p.recordFinal, p.sign, p.send,
	}
}

// inDoubt reports whether the history that a restore lost may have transactions under
// way, as it was when this pass began: what they pay for is looked for when all of them
// are final, and in events that were read after that was known.
func (p *pass) inDoubt() bool {
	if !p.view.RestoreOpen() {
		return false
	}
	for a := range p.session.View().Accounts() {
		was := p.view.Account(a.GetChainId(), a.GetAddress())
		if (was == nil || was.GetUnsettled()) && a.GetChainId() == p.duty.cfg.Network.ChainID {
			return true
		}
	}
	return false
}

// nonces are how many transactions an account has: in blocks, with those that wait,
// and in final blocks.
type nonces struct {
	account                *fsmpb.Account
	latest, pending, final hexutil.Uint64
}

// settleAccounts finds out the next nonce of the accounts on this chain that a restore
// left in doubt: it is known when no transaction is under way and none can be undone,
// and not before those of ours are among them.
func (p *pass) settleAccounts(ctx context.Context) error {
	p.duty.paid = p.duty.paid.unless(p.view.RestoreOpen())
	var list []*nonces
	var calls []rpc.BatchElem
	for a := range p.session.View().Accounts() {
		if !a.GetUnsettled() || a.GetChainId() != p.duty.cfg.Network.ChainID {
			continue
		}
		n, address := &nonces{account: a}, common.Address(a.GetAddress())
		list = append(list, n)
		calls = append(calls, getNonce(address, "latest", &n.latest), getNonce(address, "pending", &n.pending), getNonce(address, p.world.final, &n.final))
	}
	if len(list) == 0 {
		return nil
	}
	if !p.world.hasFinal {
		return waitFor(RestoreUnsettled, "a backup was restored, and the chain has no final block yet by which the next nonce could be told")
	}
	if err := p.duty.client.all(ctx, calls...); err != nil {
		return err
	}
	for _, n := range list {
		if w := n.unsettled(); w != nil {
			p.wait(w)
			continue
		}
		if err := p.settle(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// unsettled says what the next nonce of the account waits for, nil if it is known.
func (n *nonces) unsettled() *waiting {
	address, next := common.Address(n.account.GetAddress()), n.account.GetNextNonce()
	switch {
	case n.pending != n.latest:
		return waitFor(RestoreUnsettled, "a backup was restored, and the funding account %s has transactions from nonce %d to %d under way: all of them have to be final", address, n.latest, n.pending-1)
	case uint64(n.latest) < next:
		return waitFor(RestoreUnsettled, "a backup was restored, and the funding account %s has a deposit with nonce %d that is not in a block yet: it is sent again, and offered more for if it is stuck (--max-fee-gwei)", address, n.latest)
	case n.final != n.latest:
		return waitFor(RestoreUnsettled, "a backup was restored, and the transactions of the funding account %s from nonce %d to %d are not final yet", address, n.final, n.latest-1)
	}
	return nil
}

func (p *pass) settle(ctx context.Context, n *nonces) error {
	_, err := p.session.Propose(ctx, &fsmpb.Command{Body: &fsmpb.Command_SettleAccount{SettleAccount: &fsmpb.SettleAccount{
		ChainId: n.account.GetChainId(), Account: n.account.GetAddress(), NextNonce: uint64(n.latest), BlockNumber: p.world.final,
	}}})
	if err != nil {
		return fmt.Errorf("settle the funding account 0x%x at nonce %d: %w", n.account.GetAddress(), n.latest, err)
	}
	p.duty.log.Info("the next nonce of the funding account is known again", "account", common.Address(n.account.GetAddress()),
		"restored", n.account.GetNextNonce(), "next", uint64(n.latest))
	return nil
}

// tellUnconfirmed says that nothing but an operator's word is missing.
func (p *pass) tellUnconfirmed(context.Context) error {
	if view := p.session.View(); view.RestoreOpen() && len(view.RestoreMissing()) == 0 {
		p.wait(waitFor(RestoreUnconfirmed, "a backup was restored, and what came after it was found out: see keysteward restore status, stop all validators, and run keysteward restore confirm --validators-stopped"))
	}
	return nil
}

// unless forgets what was found of payments by others where they may be ours.
func (s paidByOthers) unless(restored bool) paidByOthers {
	if restored {
		return paidByOthers{}
	}
	return s
}

// proveOnly leaves out claims that the lost history may be behind.
func (p *pass) proveOnly(claims []claim) []claim {
	if !p.view.RestoreOpen() {
		return claims
	}
	var kept []claim
	for _, c := range claims {
		if c.kind != fsmpb.Observation_KIND_LOST {
			kept = append(kept, c)
		}
	}
	return kept
}

// leap is a stretch of indexes that a restore passed over. The history that was lost
// can have used only the first of them, so those behind a long run without any deposit
// need not be derived to be looked up.
type leap struct{ from, to uint64 }

// leapAfter is how long that run is: pods that went away before anything was paid for
// them leave gaps of as many keys as a pod may ask for.
const leapAfter = 2048

func leapOf(meta *fsmpb.Meta, s *fsmpb.SeedSearch) leap {
	r := meta.GetRestore()
	return leap{from: max(r.GetFirstIndex(), s.GetFound()) + leapAfter, to: r.GetNextIndex()}
}

// over reports whether the search may leap from this index.
func (l leap) over(index uint64) bool { return index >= l.from && index < l.to }

// before is how far the search may go on in one part from this index.
func (l leap) before(index, end uint64) uint64 {
	if index < l.from && l.from < l.to {
		return min(end, l.from)
	}
	return end
}
