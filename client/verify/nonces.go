package verify

import (
	"fmt"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/keysteward/keysteward/api/wire"
)

// use is what the cluster says a nonce was used for.
type use struct {
	pubkey  string            // of the deposit; empty if the nonce was given up
	deposit wire.Deposit      // if it is the deposit's own nonce
	own     bool              // deposit is set
	lost    bool              // the deposit lost it to something else
	state   wire.DepositState // of deposit
}

// account accounts for every nonce from the account's first on.
func (c *comparison) account(a wire.FundingAccount) {
	uses := c.uses(a)
	used := int64(c.chain.Nonces[common.HexToAddress(a.Address)]) //nolint:gosec // nonces are below 2^63
	for nonce := a.FirstNonce; nonce < a.NextNonce; nonce++ {
		switch of := uses[nonce]; {
		case len(of) == 0:
			c.nonce(Unexplained, a, nonce, "it belongs to no deposit and was not given up")
		case len(of) > 1:
			c.nonce(Unexplained, a, nonce, "it belongs to %s and to %s", orGivenUp(of[0]), orGivenUp(of[1]))
		default:
			c.used(a, nonce, of[0], nonce < used)
		}
	}
	if used > a.NextNonce {
		c.nonce(ForeignTransaction, a, a.NextNonce, "the chain holds %d transactions of the account, the cluster made those up to nonce %d", used, a.NextNonce-1)
	}
}

// used compares one nonce that is explained with the chain.
func (c *comparison) used(a wire.FundingAccount, nonce int64, u use, onChain bool) {
	landed := u.state == wire.DepositStateMined || u.state == wire.DepositStateFinal
	switch {
	case !onChain && (landed || u.lost || !u.own):
		c.nonce(Unexplained, a, nonce, "%s used it, by the cluster's word, and the chain has not come to it", orGivenUp(u))
	case onChain && u.own && !landed && !c.landed(u.deposit):
		c.nonce(ForeignTransaction, a, nonce, "the chain used it for another transaction than those of the deposit for %s", u.pubkey)
	}
}

// landed reports whether the chain shows an event of one of the deposit's attempts.
func (c *comparison) landed(d wire.Deposit) bool {
	for _, attempt := range d.Attempts {
		if _, ok := c.chain.Transactions[common.HexToHash(attempt.TxHash)]; ok {
			return true
		}
	}
	return false
}

func (c *comparison) nonce(kind Kind, a wire.FundingAccount, nonce int64, format string, args ...any) {
	c.found = append(c.found, Difference{Kind: kind, Account: a.Address, Nonce: nonce, Detail: fmt.Sprintf(format, args...)})
}

// uses gathers what the cluster says of each nonce of an account.
func (c *comparison) uses(a wire.FundingAccount) map[int64][]use {
	uses := make(map[int64][]use)
	for _, d := range c.books.Deposits {
		if len(d.Attempts) > 0 && d.ChainID == a.ChainID && strings.EqualFold(d.Account, a.Address) {
			uses[d.Nonce] = append(uses[d.Nonce], use{pubkey: d.Pubkey, deposit: d, own: true, state: d.State})
		}
		last := int64(-1)
		for _, l := range d.Losses {
			if l.Nonce != last && l.ChainID == a.ChainID && strings.EqualFold(l.Account, a.Address) {
				uses[l.Nonce] = append(uses[l.Nonce], use{pubkey: d.Pubkey, lost: true}) // attempts are lost together
				last = l.Nonce
			}
		}
	}
	for _, r := range a.GivenUp {
		for nonce := r.First; nonce <= r.Last; nonce++ {
			uses[nonce] = append(uses[nonce], use{})
		}
	}
	return uses
}

func orGivenUp(u use) string {
	if u.pubkey == "" {
		return "somebody else (given up)"
	}
	return "the deposit for " + u.pubkey
}
