package ethereum

import (
	"context"
	"fmt"

	"github.com/ethereum/go-ethereum/common"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// history is what the replicated state knows of the chain, where the chain agrees.
type history struct {
	known bool // an account was opened on it
	// confirmed is a block that the state knows to be final and that the chain
	// holds, 0 if there is none.
	confirmed uint64
}

// checkHistory makes sure that the chain still holds what was final: the block of
// the newest final deposit, and as many blocks as were final when anything was
// signed. A chain that was reset begins with the same first block.
func checkHistory(ctx context.Context, c *client, chainID uint64, view *fsm.View, e extent) (history, error) {
	h := history{}
	for account := range view.Accounts() {
		h.known = h.known || account.GetChainId() == chainID
	}
	if !h.known {
		return h, nil
	}
	least := uint64(0)
	for d := range open(view) {
		if d.GetChainId() == chainID {
			for _, a := range d.GetAttempts() {
				least = max(least, a.GetFinalBlock())
			}
		}
	}
	if least > uint64(e.head.Number) {
		return h, forgotten(c.host, e, fmt.Sprintf("block %d, which was final when deposits were signed", least))
	}
	newest := newestFinal(view, chainID)
	if newest == nil {
		return h, nil
	}
	text := fmt.Sprintf("block %d with hash 0x%x, in which the deposit for 0x%x was final", newest.GetBlockNumber(), newest.GetBlockHash(), newest.GetPubkey())
	var now *block
	if err := c.all(ctx, getBlock(newest.GetBlockNumber(), &now)); err != nil {
		return h, err
	}
	switch {
	case now == nil && newest.GetBlockNumber() > uint64(e.head.Number):
		return h, forgotten(c.host, e, text)
	case now == nil:
		return h, waitFor(ChainUnreachable, "the execution client at %s does not show its block %d", c.host, newest.GetBlockNumber())
	case now.Hash != common.Hash(newest.GetBlockHash()):
		return h, waitFor(ChainReset, "the execution client at %s is on a chain without %s: it was reset, or is another one; nothing is signed or sent", c.host, text)
	}
	h.confirmed = newest.GetBlockNumber()
	return h, nil
}

// forgotten tells of a chain that is shorter than it was.
func forgotten(host string, e extent, what string) *waiting {
	return waitFor(ChainReset, "the execution client at %s is on a chain that ends with block %d and lacks %s: it was reset, or the client has not caught up; nothing is signed or sent",
		host, uint64(e.head.Number), what)
}

// newestFinal returns the final deposit in the newest block of the chain.
func newestFinal(view *fsm.View, chainID uint64) *fsmpb.Deposit {
	var newest *fsmpb.Deposit
	for d := range view.Deposits(nil) {
		if d.GetState() == fsmpb.DepositState_DEPOSIT_STATE_FINAL && d.GetChainId() == chainID &&
			(newest == nil || d.GetBlockNumber() > newest.GetBlockNumber()) {
			newest = d
		}
	}
	return newest
}
