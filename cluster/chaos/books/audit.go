package books

import (
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/params"

	"github.com/keysteward/keysteward/api/wire"
)

// stakeGwei is what every deposit must pay.
const stakeGwei = 32_000_000_000

// audit compares what the chain holds with what a node answers, when nothing is
// under way any more.
type audit struct {
	ledger   *Ledger
	deposits []wire.Deposit
	accounts []wire.FundingAccount

	events  map[string]int            // by public key
	byTx    map[common.Hash]deposited // the event in a transaction
	claimed map[string]wire.Deposit   // the attempt with this hash, as text, is of this deposit
	found   []string
}

// Violations returns, in words, everything about the deposits and the accounts that a
// node told that is not as the chain has it: nothing may be under way any more.
func Violations(l *Ledger, deposits []wire.Deposit, accounts []wire.FundingAccount) []string {
	a := &audit{
		ledger: l, deposits: deposits, accounts: accounts,
		events: map[string]int{}, byTx: map[common.Hash]deposited{}, claimed: map[string]wire.Deposit{},
	}
	for _, d := range deposits {
		for _, attempt := range d.Attempts {
			a.claimed[attempt.TxHash] = d
		}
	}
	for _, e := range l.deposits {
		a.events[e.pubkey]++
		a.byTx[e.tx] = e
	}
	a.auditEvents()
	a.auditPayments()
	a.auditDeposits()
	a.auditAccount()
	a.auditMoney()
	return a.found
}

func (a *audit) note(format string, args ...any) {
	a.found = append(a.found, fmt.Sprintf(format, args...))
}

// auditEvents: each public key has one DepositEvent, of a logged attempt, and right.
func (a *audit) auditEvents() {
	told := map[string]bool{}
	for _, e := range a.ledger.deposits {
		if n := a.events[e.pubkey]; n != 1 && !told[e.pubkey] {
			told[e.pubkey] = true
			a.note("%s was deposited %d times", e.pubkey, n)
		}
		d, ok := a.claimed[e.tx.Hex()]
		if !ok || d.Pubkey != e.pubkey {
			a.note("transaction %s made a deposit for %s and is no logged attempt of it", e.tx, e.pubkey)
		}
		if e.gwei != stakeGwei {
			a.note("%s got %d gwei, not %d", e.pubkey, e.gwei, uint64(stakeGwei))
		}
		if e.credentials != Withdrawals() {
			a.note("%s was deposited with credentials %s, not %s", e.pubkey, e.credentials, Withdrawals())
		}
	}
}

// auditPayments: each transaction of the account is one deposit, and nonces have no gaps.
func (a *audit) auditPayments() {
	for i, p := range a.ledger.payments {
		if p.nonce != uint64(i) {
			a.note("transaction %d of the account has nonce %d", i, p.nonce)
		}
		d, logged := a.claimed[p.hash.Hex()]
		event, paid := a.byTx[p.hash]
		switch {
		case !logged:
			a.note("nonce %d was used by transaction %s, which is no logged attempt", p.nonce, p.hash)
		case p.failed:
			a.note("nonce %d was used by transaction %s, which was reverted", p.nonce, p.hash)
		case !p.toStakes || p.wei.Cmp(weiOf(1)) != 0:
			a.note("transaction %s pays %s wei, and not one stake to the deposit contract", p.hash, p.wei)
		case !paid || event.pubkey != d.Pubkey:
			a.note("transaction %s made no deposit for %s", p.hash, d.Pubkey)
		}
	}
}

// auditDeposits: each deposit in the state is final, has a nonce of its own, and
// says which transaction made it.
func (a *audit) auditDeposits() {
	owner := map[int64]string{}
	for _, d := range a.deposits {
		if d.State != wire.DepositStateFinal {
			a.note("the deposit for %s is %s, not final", d.Pubkey, d.State)
		}
		for _, l := range d.Losses {
			a.note("the deposit for %s counts nonce %d as lost: %s", d.Pubkey, l.Nonce, l.Reason)
		}
		for _, attempt := range d.Attempts {
			if attempt.Nonce != d.Nonce {
				a.note("the deposit for %s has attempts at the nonces %d and %d", d.Pubkey, d.Nonce, attempt.Nonce)
			}
		}
		if other, twice := owner[d.Nonce]; twice && len(d.Attempts) > 0 {
			a.note("%s and %s have the same nonce %d", other, d.Pubkey, d.Nonce)
		}
		if len(d.Attempts) > 0 {
			owner[d.Nonce] = d.Pubkey
		}
		if a.events[d.Pubkey] == 0 {
			a.note("the chain has no deposit for %s", d.Pubkey)
		} else if e, ok := a.byTx[common.HexToHash(d.TxHash)]; !ok || e.pubkey != d.Pubkey {
			a.note("the deposit for %s is said to be transaction %s, and is not", d.Pubkey, d.TxHash)
		}
	}
}

// auditAccount: the state's next nonce is the chain's.
func (a *audit) auditAccount() {
	if len(a.accounts) != 1 {
		a.note("the state has %d funding accounts, not 1", len(a.accounts))
		return
	}
	account, l := a.accounts[0], a.ledger
	if account.FirstNonce != 0 || len(account.GivenUp) != 0 || account.Stop.Reason != "" {
		a.note("the account began at nonce %d, gave up %v, is stopped: %q", account.FirstNonce, account.GivenUp, account.Stop.Reason)
	}
	next := uint64(account.NextNonce) //nolint:gosec // never negative
	if next != l.latest || next != l.pending || next != uint64(len(l.payments)) {
		a.note("the next nonce is %d in the state, %d on the chain, %d with geth's pool; there were %d transactions", next, l.latest, l.pending, len(l.payments))
	}
}

// auditMoney: every wei that left the account is a stake or a fee.
func (a *audit) auditMoney() {
	left := new(big.Int).Set(a.ledger.first)
	for _, p := range a.ledger.payments {
		if !p.failed {
			left.Sub(left, p.wei)
		}
		left.Sub(left, p.feeWei)
	}
	if left.Cmp(a.ledger.balance) != 0 {
		a.note("the account has %s wei, by its transactions it should have %s", a.ledger.balance, left)
	}
	if want := weiOf(len(a.deposits)); a.ledger.stake.Cmp(want) != 0 {
		a.note("the deposit contract has %s wei, the state knows of %s", a.ledger.stake, want)
	}
}

func weiOf(stakes int) *big.Int {
	wei := big.NewInt(stakeGwei)
	return wei.Mul(wei, big.NewInt(params.GWei*int64(stakes)))
}
