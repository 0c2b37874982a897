// Package books keeps books of a real geth with the real deposit contract: what the
// chain holds, block by block, is compared with what nodes answer.
package books

import (
	"context"
	"fmt"
	"math/big"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/keysteward/keysteward/cluster/local/devchain"
)

// Ledger is what the chain holds of an account that pays, and of all deposits. It is
// read from blocks and receipts, and not as the product reads it.
type Ledger struct {
	head    uint64 // up to which it was read
	first   *big.Int
	balance *big.Int // of the account in the head block, wei; first is that at the beginning
	stake   *big.Int // what the deposit contract owns, wei
	// latest and pending are the account's next nonce, without and with what geth has
	// in its pool.
	latest, pending uint64
	payments        []payment // of the account, in their order
	deposits        []deposited
}

// payment is a transaction of the account.
type payment struct {
	hash     common.Hash
	nonce    uint64
	toStakes bool // it calls the deposit contract
	wei      *big.Int
	feeWei   *big.Int
	failed   bool
}

// deposited is a DepositEvent.
type deposited struct {
	pubkey, credentials string // hex with 0x
	gwei                uint64
	tx                  common.Hash
}

// Books reads the chain, each block once: this chain has no reorganisations.
type Books struct {
	chain   *ethclient.Client
	account common.Address
	ledger  Ledger
}

// Open opens the books of an account that has paid nothing yet.
func Open(ctx context.Context, chain *ethclient.Client, account common.Address) (*Books, error) {
	first, err := chain.BalanceAt(ctx, account, nil)
	if err != nil {
		return nil, fmt.Errorf("balance before the first deposit: %w", err)
	}
	return &Books{chain: chain, account: account, ledger: Ledger{first: first}}, nil
}

// Read goes on to the head. What it returns is not changed later.
func (b *Books) Read(ctx context.Context) (*Ledger, error) {
	head, err := b.chain.BlockNumber(ctx)
	if err != nil {
		return nil, fmt.Errorf("head: %w", err)
	}
	l := &b.ledger
	for l.head < head {
		if err := b.readBlock(ctx, l.head+1); err != nil {
			return nil, fmt.Errorf("block %d: %w", l.head+1, err)
		}
		l.head++
	}
	at := new(big.Int).SetUint64(l.head)
	if l.balance, err = b.chain.BalanceAt(ctx, b.account, at); err != nil {
		return nil, fmt.Errorf("balance: %w", err)
	}
	if l.stake, err = b.chain.BalanceAt(ctx, devchain.DepositContract(), at); err != nil {
		return nil, fmt.Errorf("stake: %w", err)
	}
	if l.latest, err = b.chain.NonceAt(ctx, b.account, at); err != nil {
		return nil, fmt.Errorf("nonce: %w", err)
	}
	if l.pending, err = b.chain.PendingNonceAt(ctx, b.account); err != nil {
		return nil, fmt.Errorf("pending nonce: %w", err)
	}
	copied := *l
	copied.payments, copied.deposits = slices.Clone(l.payments), slices.Clone(l.deposits)
	return &copied, nil
}

func (b *Books) readBlock(ctx context.Context, number uint64) error {
	block, err := b.chain.BlockByNumber(ctx, new(big.Int).SetUint64(number))
	if err != nil {
		return err //nolint:wrapcheck // the caller says which block
	}
	receipts, err := b.chain.BlockReceipts(ctx, rpc.BlockNumberOrHashWithHash(block.Hash(), true))
	if err != nil {
		return err //nolint:wrapcheck // the caller says which block
	}
	if len(receipts) != len(block.Transactions()) {
		return fmt.Errorf("%d transactions and %d receipts", len(block.Transactions()), len(receipts))
	}
	for i, tx := range block.Transactions() {
		if err := b.book(tx, receipts[i]); err != nil {
			return fmt.Errorf("transaction %s: %w", tx.Hash(), err)
		}
	}
	return nil
}

func (b *Books) book(tx *types.Transaction, receipt *types.Receipt) error {
	from, err := types.Sender(types.LatestSignerForChainID(new(big.Int).SetUint64(devchain.DefaultChainID)), tx)
	if err != nil {
		return err //nolint:wrapcheck // the caller says which transaction
	}
	if from == b.account {
		fee := new(big.Int).SetUint64(receipt.GasUsed)
		b.ledger.payments = append(b.ledger.payments, payment{
			hash: tx.Hash(), nonce: tx.Nonce(), toStakes: tx.To() != nil && *tx.To() == devchain.DepositContract(),
			wei: tx.Value(), feeWei: fee.Mul(fee, receipt.EffectiveGasPrice), failed: receipt.Status != types.ReceiptStatusSuccessful,
		})
	}
	for _, log := range receipt.Logs {
		if log.Address != devchain.DepositContract() {
			continue
		}
		event, err := types.DepositLogToRequest(log.Data)
		if err != nil {
			return err //nolint:wrapcheck // the caller says which transaction
		}
		var gwei uint64
		for i := range 8 { // little endian
			gwei |= uint64(event[80+i]) << (8 * i)
		}
		b.ledger.deposits = append(b.ledger.deposits, deposited{
			pubkey: hexutil.Encode(event[:48]), credentials: hexutil.Encode(event[48:80]), gwei: gwei, tx: tx.Hash(),
		})
	}
	return nil
}
