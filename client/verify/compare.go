package verify

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// Kind says what sort of difference there is.
type Kind string

// Kinds of differences. Those about a key name it, those about a nonce its account.
const (
	// NotOnChain: the cluster says that the stake was paid, and the chain does not show it.
	NotOnChain Kind = "not-on-chain"
	// NotPaid: a key can be handed out, and the cluster has no final deposit for it.
	NotPaid Kind = "not-paid"
	// PaidTwice: one of the cluster's accounts paid more than once for a key.
	PaidTwice Kind = "paid-twice"
	// ForeignPayment: somebody paid for a key, and the cluster does not know of it.
	ForeignPayment Kind = "foreign-payment"
	// OtherDeposit: amount, credentials or signature are not those that were recorded.
	OtherDeposit Kind = "other-deposit"
	// OtherPlace: block, account or nonce are not those that were recorded.
	OtherPlace Kind = "other-place"
	// InvalidSignature: the consensus layer drops such a deposit, and its ETH is lost.
	InvalidSignature Kind = "invalid-signature"
	// Unexplained: a nonce belongs to no deposit and was not given up, or to several.
	Unexplained Kind = "unexplained-nonce"
	// ForeignTransaction: the chain holds a transaction of an account that is not the cluster's.
	ForeignTransaction Kind = "foreign-transaction"
)

// Difference is one thing that the cluster and the chain do not agree on.
type Difference struct {
	Kind    Kind   `json:"kind"`
	Pubkey  string `json:"pubkey,omitempty"`
	Account string `json:"account,omitempty"`
	Nonce   int64  `json:"nonce,omitempty"`
	// Detail says what each side says, for people.
	Detail string `json:"detail"`
}

// same reports whether two readings found the same difference, whatever the words.
func (d Difference) same(e Difference) bool {
	return d.Kind == e.Kind && d.Pubkey == e.Pubkey && d.Account == e.Account && d.Nonce == e.Nonce
}

// comparison collects differences.
type comparison struct {
	books *Books
	chain *Chain
	// fork is the genesis fork version that deposits are signed for; nil leaves the
	// signatures unchecked.
	fork    *[4]byte
	retired map[validator.PublicKey]string // why
	found   []Difference
}

// compare names every difference, in a stable order. Only keys in known had
// their events read.
func compare(books *Books, chain *Chain, known map[validator.PublicKey]bool, fork *[4]byte) []Difference {
	c := &comparison{books: books, chain: chain, fork: fork, retired: books.retired()}
	for key, d := range books.Deposits {
		if known[key] && onChain(d, chain) {
			c.deposit(key, d)
		}
	}
	for _, k := range books.Keys {
		if key, err := validator.ParsePublicKey(k.Pubkey); err == nil && known[key] {
			c.key(key, k)
		}
	}
	for _, a := range books.Accounts {
		if a.ChainID == int64(chain.ID) { //nolint:gosec // chain IDs are below 2^63
			c.account(a)
		}
	}
	slices.SortFunc(c.found, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Pubkey, b.Pubkey), cmp.Compare(a.Account, b.Account), cmp.Compare(a.Nonce, b.Nonce), cmp.Compare(a.Detail, b.Detail))
	})
	return c.found
}

// onChain leaves deposits out that were made on another chain.
func onChain(d wire.Deposit, c *Chain) bool { return d.ChainID == 0 || uint64(d.ChainID) == c.ID } //nolint:gosec // not negative

func (c *comparison) differ(kind Kind, key validator.PublicKey, format string, args ...any) {
	c.found = append(c.found, Difference{Kind: kind, Pubkey: key.String(), Detail: fmt.Sprintf(format, args...)})
}

// deposit compares one deposit with the events for its key.
func (c *comparison) deposit(key validator.PublicKey, d wire.Deposit) {
	var ours []Event
	for _, e := range c.chain.Events[key] {
		switch tx := c.chain.Transactions[e.TxHash]; {
		case slices.ContainsFunc(d.Attempts, func(a wire.Attempt) bool { return sameHash(a.TxHash, e.TxHash) }):
			ours = append(ours, e)
			c.event(key, d, e)
		case c.pays(tx.From):
			c.differ(PaidTwice, key, "transaction %s in block %d, at nonce %d of our account %s, is none of its attempts", e.TxHash, e.BlockNumber, tx.Nonce, tx.From)
		case c.retired[key] == retiredForeign: // for just that
		default:
			c.differ(ForeignPayment, key, "%s paid %d gwei in transaction %s, block %d", tx.From, e.AmountGwei, e.TxHash, e.BlockNumber)
		}
	}
	if len(ours) > 1 {
		c.differ(PaidTwice, key, "the chain holds %d deposits by its own attempts", len(ours))
	}
	if len(ours) == 0 && (d.State == wire.DepositStateMined || d.State == wire.DepositStateFinal) {
		c.differ(NotOnChain, key, "the deposit is %s in transaction %s, block %d; the chain shows no DepositEvent of it", d.State, d.TxHash, d.BlockNumber)
	}
}

// event compares what was recorded with the event of one of the attempts.
func (c *comparison) event(key validator.PublicKey, d wire.Deposit, e Event) {
	if uint64(d.AmountGwei) != e.AmountGwei { //nolint:gosec // not negative
		c.differ(OtherDeposit, key, "%d gwei were recorded, the chain has %d", d.AmountGwei, e.AmountGwei)
	}
	if !strings.EqualFold(d.WithdrawalCredentials, e.Credentials.String()) {
		c.differ(OtherDeposit, key, "withdrawal credentials %s were recorded, the chain has %s", d.WithdrawalCredentials, e.Credentials)
	}
	if signature := fmt.Sprintf("0x%x", e.Signature[:]); !strings.EqualFold(d.Signature, signature) {
		c.differ(OtherDeposit, key, "signature %s was recorded, the chain has %s", d.Signature, signature)
	}
	if c.fork != nil {
		if err := e.Verify(*c.fork); err != nil {
			c.differ(InvalidSignature, key, "%v", err)
		}
	}
	tx := c.chain.Transactions[e.TxHash]
	if !strings.EqualFold(d.Account, tx.From.Hex()) || uint64(d.Nonce) != tx.Nonce { //nolint:gosec // not negative
		c.differ(OtherPlace, key, "account %s and nonce %d were recorded, transaction %s is of %s with nonce %d", d.Account, d.Nonce, e.TxHash, tx.From, tx.Nonce)
	}
	landed := d.State == wire.DepositStateMined || d.State == wire.DepositStateFinal
	if landed && (uint64(d.BlockNumber) != e.BlockNumber || !sameHash(d.BlockHash, e.BlockHash) || !sameHash(d.TxHash, e.TxHash)) { //nolint:gosec // not negative
		c.differ(OtherPlace, key, "transaction %s in block %d (%s) was recorded, the chain has %s in block %d (%s)", d.TxHash, d.BlockNumber, d.BlockHash, e.TxHash, e.BlockNumber, e.BlockHash)
	}
}

// pays reports whether an account is one of the cluster's.
func (c *comparison) pays(account common.Address) bool {
	return slices.ContainsFunc(c.books.Accounts, func(a wire.FundingAccount) bool {
		return a.ChainID == int64(c.chain.ID) && strings.EqualFold(a.Address, account.Hex()) //nolint:gosec // chain IDs are below 2^63
	})
}

func sameHash(text string, hash common.Hash) bool { return strings.EqualFold(text, hash.Hex()) }
