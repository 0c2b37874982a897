package main

import (
	"errors"
	"fmt"
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

func pubkey(i int) validator.PublicKey { return validator.PublicKey{byte(i + 1)} }

func txHash(i int) common.Hash { return common.Hash{0xaa, byte(i)} }

// balanced is what there is when two pods have a key and two keys, and nothing is wrong.
func balanced() (*ledger, *testimony, []*pod) {
	const keys, fee = 3, 7
	l := &ledger{first: weiOf(10), balance: weiOf(10 - keys), stake: weiOf(keys), latest: keys, pending: keys}
	l.balance.Sub(l.balance, big.NewInt(keys*fee))
	said := &testimony{Accounts: []wire.FundingAccount{{NextNonce: keys}}}
	for i := range keys {
		key, hash := pubkey(i).String(), txHash(i)
		l.payments = append(l.payments, payment{hash: hash, nonce: uint64(i), toStakes: true, wei: weiOf(1), feeWei: big.NewInt(fee)})
		l.deposits = append(l.deposits, deposited{pubkey: key, credentials: withdrawals(), gwei: stakeGwei, tx: hash})
		said.Deposits = append(said.Deposits, wire.Deposit{
			Pubkey: key, State: wire.DepositStateFinal, Nonce: int64(i), TxHash: hash.Hex(),
			Attempts: []wire.Attempt{{Nonce: int64(i), TxHash: hash.Hex()}},
		})
		said.Keys = append(said.Keys, wire.Key{Pubkey: key, State: wire.KeyStateHeld})
	}
	pods := []*pod{
		{name: "a", keys: 1, got: []validator.PublicKey{pubkey(0)}},
		{name: "b", keys: 2, got: []validator.PublicKey{pubkey(1), pubkey(2)}},
	}
	for _, p := range pods {
		var held []string
		for _, k := range p.got {
			held = append(held, k.String())
		}
		said.Allocations = append(said.Allocations, wire.Allocation{Pod: p.name, Keys: held})
	}
	return l, said, pods
}

func TestNothingIsWrong(t *testing.T) {
	t.Parallel()
	l, said, pods := balanced()
	require.Empty(t, violations(*l, *said, pods))
	// A deposit that was replaced is fine, whichever attempt landed.
	said.Deposits[1].Attempts = append(said.Deposits[1].Attempts, wire.Attempt{Nonce: 1, TxHash: txHash(9).Hex()})
	require.Empty(t, violations(*l, *said, pods))
}

func TestViolations(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(l *ledger, said *testimony, pods []*pod)
		says  string
	}{
		"paid twice": {func(l *ledger, _ *testimony, _ []*pod) {
			l.deposits = append(l.deposits, l.deposits[0])
		}, "was deposited 2 times"},
		"paid by nobody's transaction": {func(l *ledger, _ *testimony, _ []*pod) {
			l.deposits[0].tx = txHash(8)
		}, "is no logged attempt of it"},
		"attempt of another deposit": {func(l *ledger, _ *testimony, _ []*pod) {
			l.deposits[0].tx, l.deposits[1].tx = l.deposits[1].tx, l.deposits[0].tx
		}, "is no logged attempt of it"},
		"too little": {func(l *ledger, _ *testimony, _ []*pod) {
			l.deposits[2].gwei--
		}, "got 31999999999 gwei"},
		"to somebody else": {func(l *ledger, _ *testimony, _ []*pod) {
			l.deposits[2].credentials = "0x00"
		}, "credentials 0x00"},
		"gap": {func(l *ledger, _ *testimony, _ []*pod) {
			l.payments[2].nonce = 3
		}, "transaction 2 of the account has nonce 3"},
		"not logged": {func(l *ledger, _ *testimony, _ []*pod) {
			l.payments[1].hash = txHash(8)
		}, "nonce 1 was used by transaction 0xaa08"},
		"reverted": {func(l *ledger, _ *testimony, _ []*pod) {
			l.payments[1].failed = true
		}, "which was reverted"},
		"elsewhere": {func(l *ledger, _ *testimony, _ []*pod) {
			l.payments[1].toStakes = false
		}, "not one stake"},
		"no event": {func(l *ledger, _ *testimony, _ []*pod) {
			l.deposits = l.deposits[1:]
		}, "the chain has no deposit for " + pubkey(0).String()},
		"unfinished": {func(_ *ledger, said *testimony, _ []*pod) {
			said.Deposits[1].State = wire.DepositStateMined
		}, "is mined, not final"},
		"loss": {func(_ *ledger, said *testimony, _ []*pod) {
			said.Deposits[1].Losses = []wire.Loss{{Nonce: 5, Reason: "stolen"}}
		}, "counts nonce 5 as lost: stolen"},
		"two nonces": {func(_ *ledger, said *testimony, _ []*pod) {
			said.Deposits[1].Attempts = append(said.Deposits[1].Attempts, wire.Attempt{Nonce: 7, TxHash: txHash(8).Hex()})
		}, "attempts at the nonces 1 and 7"},
		"one nonce twice": {func(_ *ledger, said *testimony, _ []*pod) {
			said.Deposits[1].Nonce, said.Deposits[1].Attempts[0].Nonce = 0, 0
		}, "have the same nonce 0"},
		"another transaction": {func(_ *ledger, said *testimony, _ []*pod) {
			said.Deposits[1].TxHash = txHash(2).Hex()
		}, "is said to be transaction"},
		"two accounts": {func(_ *ledger, said *testimony, _ []*pod) {
			said.Accounts = append(said.Accounts, wire.FundingAccount{})
		}, "2 funding accounts"},
		"stopped": {func(_ *ledger, said *testimony, _ []*pod) {
			said.Accounts[0].Stop.Reason = "somebody else"
		}, `is stopped: "somebody else"`},
		"nonce ahead": {func(_ *ledger, said *testimony, _ []*pod) {
			said.Accounts[0].NextNonce++
		}, "the next nonce is 4 in the state, 3 on the chain"},
		"still in the pool": {func(l *ledger, _ *testimony, _ []*pod) {
			l.pending++
		}, "4 with geth's pool"},
		"money is gone": {func(l *ledger, _ *testimony, _ []*pod) {
			l.balance.Sub(l.balance, big.NewInt(1))
		}, "by its transactions it should have"},
		"stake too many": {func(l *ledger, _ *testimony, _ []*pod) {
			l.stake = weiOf(4)
		}, "the deposit contract has"},
		"two holders": {func(_ *ledger, said *testimony, _ []*pod) {
			said.Allocations[0].Keys = said.Allocations[1].Keys
		}, "is held by a and by b"},
		"unanswered": {func(_ *ledger, _ *testimony, pods []*pod) {
			pods[0].err = errors.New("waits for godot")
		}, "a asked for 1 keys and has none: waits for godot"},
		"too few": {func(_ *ledger, _ *testimony, pods []*pod) {
			pods[1].got = pods[1].got[:1]
		}, "b asked for 2 keys and got 1"},
		"other keys": {func(_ *ledger, _ *testimony, pods []*pod) {
			pods[0].got = []validator.PublicKey{pubkey(1)}
		}, "a got [" + pubkey(1).String() + "], the state says"},
		"keys for nobody": {func(_ *ledger, said *testimony, _ []*pod) {
			said.Keys = append(said.Keys, wire.Key{Pubkey: "0x99", State: wire.KeyStateFree})
		}, "pods asked for 3 keys; there are 4"},
		"not held": {func(_ *ledger, said *testimony, _ []*pod) {
			said.Keys[0].State = wire.KeyStateFree
		}, "is free, held by"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, said, pods := balanced()
			c.spoil(l, said, pods)
			require.Contains(t, fmt.Sprint(violations(*l, *said, pods)), c.says)
		})
	}
}

func TestSummaryEnds(t *testing.T) {
	t.Parallel()
	require.Contains(t, summarize(make([]string, 100)), "and 88 more")
	require.NotContains(t, summarize([]string{"one"}), "more")
}
