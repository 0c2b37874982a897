package ethereum

import (
	"context"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// openAccount begins the record of the funding account's nonces, once, at a
// moment when none of its transactions is on its way.
func (p *pass) openAccount(ctx context.Context) error {
	if p.account(p.view) != nil {
		return nil
	}
	address := p.duty.cfg.Funding.Address()
	if p.world.pending != p.world.latest {
		return waitFor(PendingTransactions, "the funding account %s has %d transactions under way; deposits begin when they are mined, and from then on nothing else may use it",
			address, p.world.pending-p.world.latest)
	}
	_, err := p.session.Propose(ctx, &fsmpb.Command{Body: &fsmpb.Command_OpenAccount{OpenAccount: &fsmpb.OpenAccount{
		Account: &fsmpb.Account{
			ChainId: p.duty.cfg.Network.ChainID, GenesisHash: p.world.genesis.Hash[:],
			Address: address[:], NextNonce: p.world.latest,
		},
	}}})
	if err != nil {
		return fmt.Errorf("open the funding account %s: %w", address, err)
	}
	return nil
}

// account returns the funding account's record, nil if it is not open.
func (p *pass) account(view *fsm.View) *fsmpb.Account {
	address := p.duty.cfg.Funding.Address()
	return view.Account(p.duty.cfg.Network.ChainID, address[:])
}

// ours reports whether the deposit was signed by the funding account on this chain.
func (p *pass) ours(d *fsmpb.Deposit) bool {
	return p.onChain(d) && [20]byte(d.GetAccount()) == p.duty.cfg.Funding.Address()
}

// onChain reports whether the deposit was signed for this chain.
func (p *pass) onChain(d *fsmpb.Deposit) bool {
	return d.GetChainId() == p.duty.cfg.Network.ChainID && len(d.GetAccount()) == 20
}

// otherAccounts makes the calls that tell how many transactions in blocks those
// accounts have that paid before this one, and still have deposits under way.
func (p *pass) otherAccounts() (map[common.Address]*hexutil.Uint64, []rpc.BatchElem) {
	used := make(map[common.Address]*hexutil.Uint64)
	var calls []rpc.BatchElem
	for d := range open(p.view) {
		if !p.onChain(d) || p.ours(d) || used[common.Address(d.GetAccount())] != nil {
			continue
		}
		account := common.Address(d.GetAccount())
		used[account] = new(hexutil.Uint64)
		calls = append(calls, getNonce(account, "latest", used[account]))
	}
	return used, calls
}

// checkNonces compares the nonces of the chain with those of the state as it was
// before the chain was looked at. Only this session signs and sends, so whatever
// the chain has beyond the state is not ours.
func (p *pass) checkNonces() *waiting {
	account := p.account(p.view)
	if account == nil {
		return nil
	}
	next, address := account.GetNextNonce(), p.duty.cfg.Funding.Address()
	if p.world.latest > next {
		return p.goOnBehind(account)
	}
	if p.world.pending > next {
		return waitFor(ForeignTransaction, "something else uses the funding account %s: a transaction with nonce %d that is not ours is under way, and ours end before %d; once it is mined deposits stop until you run keysteward deposits resume, or give Keysteward an account of its own with --funding-keystore",
			address, p.world.pending-1, next)
	}
	// A nonce that the chain has not used yet must belong to a deposit that is not
	// final: what is final stays in the chain.
	under := make(map[uint64]bool)
	for d := range open(p.view) {
		if p.ours(d) {
			for _, a := range d.GetAttempts() {
				under[a.GetNonce()] = true
			}
		}
	}
	for nonce := p.world.latest; nonce < next; nonce++ {
		if !under[nonce] {
			return waitFor(ChainReset, "the chain has forgotten the transaction of the funding account %s with nonce %d, which was final: was the chain reset?", address, nonce)
		}
	}
	return nil
}
