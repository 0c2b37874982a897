package books

import (
	"fmt"
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
)

func pubkey(i int) string { return hexutil.Encode([]byte{byte(i + 1)}) }

func txHash(i int) common.Hash { return common.Hash{0xaa, byte(i)} }

// told is what a node answers.
type told struct {
	Deposits []wire.Deposit
	Accounts []wire.FundingAccount
}

// balanced is what there is when three deposits were made, and nothing is wrong.
func balanced() (*Ledger, *told) {
	const keys, fee = 3, 7
	l := &Ledger{first: weiOf(10), balance: weiOf(10 - keys), stake: weiOf(keys), latest: keys, pending: keys}
	l.balance.Sub(l.balance, big.NewInt(keys*fee))
	said := &told{Accounts: []wire.FundingAccount{{NextNonce: keys}}}
	for i := range keys {
		key, hash := pubkey(i), txHash(i)
		l.payments = append(l.payments, payment{hash: hash, nonce: uint64(i), toStakes: true, wei: weiOf(1), feeWei: big.NewInt(fee)})
		l.deposits = append(l.deposits, deposited{pubkey: key, credentials: Withdrawals(), gwei: stakeGwei, tx: hash})
		said.Deposits = append(said.Deposits, wire.Deposit{
			Pubkey: key, State: wire.DepositStateFinal, Nonce: int64(i), TxHash: hash.Hex(),
			Attempts: []wire.Attempt{{Nonce: int64(i), TxHash: hash.Hex()}},
		})
	}
	return l, said
}

func TestNothingIsWrong(t *testing.T) {
	t.Parallel()
	l, said := balanced()
	require.Empty(t, Violations(l, said.Deposits, said.Accounts))
	// A deposit that was replaced is fine, whichever attempt landed.
	said.Deposits[1].Attempts = append(said.Deposits[1].Attempts, wire.Attempt{Nonce: 1, TxHash: txHash(9).Hex()})
	require.Empty(t, Violations(l, said.Deposits, said.Accounts))
}

func TestViolations(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(l *Ledger, said *told)
		says  string
	}{
		"paid twice": {func(l *Ledger, _ *told) {
			l.deposits = append(l.deposits, l.deposits[0])
		}, "was deposited 2 times"},
		"paid by nobody's transaction": {func(l *Ledger, _ *told) {
			l.deposits[0].tx = txHash(8)
		}, "is no logged attempt of it"},
		"attempt of another deposit": {func(l *Ledger, _ *told) {
			l.deposits[0].tx, l.deposits[1].tx = l.deposits[1].tx, l.deposits[0].tx
		}, "is no logged attempt of it"},
		"too little": {func(l *Ledger, _ *told) {
			l.deposits[2].gwei--
		}, "got 31999999999 gwei"},
		"to somebody else": {func(l *Ledger, _ *told) {
			l.deposits[2].credentials = "0x00"
		}, "credentials 0x00"},
		"gap": {func(l *Ledger, _ *told) {
			l.payments[2].nonce = 3
		}, "transaction 2 of the account has nonce 3"},
		"not logged": {func(l *Ledger, _ *told) {
			l.payments[1].hash = txHash(8)
		}, "nonce 1 was used by transaction 0xaa08"},
		"reverted": {func(l *Ledger, _ *told) {
			l.payments[1].failed = true
		}, "which was reverted"},
		"elsewhere": {func(l *Ledger, _ *told) {
			l.payments[1].toStakes = false
		}, "not one stake"},
		"no event": {func(l *Ledger, _ *told) {
			l.deposits = l.deposits[1:]
		}, "the chain has no deposit for " + pubkey(0)},
		"unfinished": {func(_ *Ledger, said *told) {
			said.Deposits[1].State = wire.DepositStateMined
		}, "is mined, not final"},
		"loss": {func(_ *Ledger, said *told) {
			said.Deposits[1].Losses = []wire.Loss{{Nonce: 5, Reason: "stolen"}}
		}, "counts nonce 5 as lost: stolen"},
		"two nonces": {func(_ *Ledger, said *told) {
			said.Deposits[1].Attempts = append(said.Deposits[1].Attempts, wire.Attempt{Nonce: 7, TxHash: txHash(8).Hex()})
		}, "attempts at the nonces 1 and 7"},
		"one nonce twice": {func(_ *Ledger, said *told) {
			said.Deposits[1].Nonce, said.Deposits[1].Attempts[0].Nonce = 0, 0
		}, "have the same nonce 0"},
		"another transaction": {func(_ *Ledger, said *told) {
			said.Deposits[1].TxHash = txHash(2).Hex()
		}, "is said to be transaction"},
		"two accounts": {func(_ *Ledger, said *told) {
			said.Accounts = append(said.Accounts, wire.FundingAccount{})
		}, "2 funding accounts"},
		"stopped": {func(_ *Ledger, said *told) {
			said.Accounts[0].Stop.Reason = "somebody else"
		}, `is stopped: "somebody else"`},
		"nonce ahead": {func(_ *Ledger, said *told) {
			said.Accounts[0].NextNonce++
		}, "the next nonce is 4 in the state, 3 on the chain"},
		"still in the pool": {func(l *Ledger, _ *told) {
			l.pending++
		}, "4 with geth's pool"},
		"money is gone": {func(l *Ledger, _ *told) {
			l.balance.Sub(l.balance, big.NewInt(1))
		}, "by its transactions it should have"},
		"stake too many": {func(l *Ledger, _ *told) {
			l.stake = weiOf(4)
		}, "the deposit contract has"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, said := balanced()
			c.spoil(l, said)
			require.Contains(t, fmt.Sprint(Violations(l, said.Deposits, said.Accounts)), c.says)
		})
	}
}
