package verify

import (
	"strings"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// key compares a key that has no deposit of ours on this chain, and asks whether
// one is needed.
func (c *comparison) key(key validator.PublicKey, k wire.Key) {
	d, ours := c.books.Deposits[key]
	usable := k.State == wire.KeyStateFree || k.State == wire.KeyStateHeld || k.State == wire.KeyStateResting
	events := c.chain.Events[key]
	switch {
	case ours && !onChain(d, c.chain):
		if usable {
			c.differ(NotOnChain, key, "the key is %s and its deposit is on the chain with ID %d", k.State, d.ChainID)
		}
		c.foreign(key, events, false)
	case ours:
		if usable && d.State != wire.DepositStateFinal {
			c.differ(NotPaid, key, "the key is %s and its deposit is %s", k.State, d.State)
		}
	case k.Adopted != (wire.Stake{}):
		c.adopted(key, k.Adopted, events)
	case k.Imported && len(events) == 0:
		c.differ(NotOnChain, key, "the key was imported, and the chain shows no DepositEvent for it")
	case k.Imported || k.RetiredReason == retiredForeign:
		c.foreign(key, events, true) // who brought the key may add to its stake
	case usable:
		c.differ(NotPaid, key, "the key is %s, and the cluster has no deposit for it", k.State)
	default:
		c.foreign(key, events, false)
	}
}

// retiredForeign is why a key is retired that somebody else deposited for.
const retiredForeign = "foreign"

// foreign looks at events of a key for which the cluster has no deposit here.
// Those of others are differences unless they are known.
func (c *comparison) foreign(key validator.PublicKey, events []Event, known bool) {
	for _, e := range events {
		switch tx := c.chain.Transactions[e.TxHash]; {
		case c.pays(tx.From):
			c.differ(PaidTwice, key, "our account %s paid for it in transaction %s, block %d, and the cluster has no deposit for the key here", tx.From, e.TxHash, e.BlockNumber)
		case !known:
			c.differ(ForeignPayment, key, "%s paid %d gwei in transaction %s, block %d, and the cluster has no deposit for the key", tx.From, e.AmountGwei, e.TxHash, e.BlockNumber)
		}
	}
}

// adopted compares a key of the seed that was paid for before with the one
// deposit with which it was found.
func (c *comparison) adopted(key validator.PublicKey, stake wire.Stake, events []Event) {
	found := false
	for _, e := range events {
		tx := c.chain.Transactions[e.TxHash]
		switch {
		case sameHash(stake.TxHash, e.TxHash):
			found = true
			if uint64(stake.AmountGwei) != e.AmountGwei || uint64(stake.BlockNumber) != e.BlockNumber || !strings.EqualFold(stake.WithdrawalCredentials, e.Credentials.String()) { //nolint:gosec // not negative
				c.differ(OtherDeposit, key, "it was found with %d gwei and credentials %s in block %d, the chain has %d, %s, and block %d",
					stake.AmountGwei, stake.WithdrawalCredentials, stake.BlockNumber, e.AmountGwei, e.Credentials, e.BlockNumber)
			}
		case c.pays(tx.From):
			c.differ(PaidTwice, key, "the key was paid for before the cluster had it, and our account %s paid again in transaction %s, block %d", tx.From, e.TxHash, e.BlockNumber)
		default:
			c.differ(ForeignPayment, key, "%s paid %d gwei in transaction %s, block %d, besides the deposit with which the key was found", tx.From, e.AmountGwei, e.TxHash, e.BlockNumber)
		}
	}
	if !found {
		c.differ(NotOnChain, key, "the key was found with a deposit in transaction %s, block %d; the chain shows no DepositEvent of it", stake.TxHash, stake.BlockNumber)
	}
}
