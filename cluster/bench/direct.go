package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/ethereum/go-ethereum/params"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

const (
	inFlight     = 16 // as the nodes of the local cluster are told
	unitDeposits = "keys/s"
	depositABI   = `[{"type":"function","name":"deposit","stateMutability":"payable","outputs":[],"inputs":[
 {"name":"pubkey","type":"bytes"},{"name":"withdrawal_credentials","type":"bytes"},
 {"name":"signature","type":"bytes"},{"name":"deposit_data_root","type":"bytes32"}]}]`
)

// measureDirect sends as many deposits to the same chain without any cluster:
// all are signed before the clock starts, and as many are in flight at a time. It
// is the peer that the cluster's rate is compared with.
func (c *localCluster) measureDirect(ctx context.Context, keys int) ([]figure, error) {
	f, err := c.file()
	if err != nil {
		return nil, err
	}
	chain, err := ethclient.DialContext(ctx, f.Chain.RPC)
	if err != nil {
		return nil, fmt.Errorf("chain: %w", err)
	}
	defer chain.Close()
	payer, err := c.faucet()
	if err != nil {
		return nil, err
	}
	first, err := chain.NonceAt(ctx, payer.Address, nil)
	if err != nil {
		return nil, fmt.Errorf("nonce: %w", err)
	}
	signed, err := signDeposits(ctx, chain, payer, common.HexToAddress(f.Chain.DepositContract), first, keys)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := sendAll(ctx, chain, payer.Address, first, signed); err != nil {
		return nil, err
	}
	return []figure{{
		Name: fmt.Sprintf("the same %d signed before and sent directly, %d in flight", keys, inFlight), Unit: unitDeposits,
		Value: float64(keys) / time.Since(begin).Seconds(), Runs: 1,
	}}, nil
}

// share compares the two rates of deposits.
func share(figures []figure) figure {
	rates := make(map[bool]float64)
	for _, f := range figures {
		if f.Unit == unitDeposits {
			_, seen := rates[false]
			rates[seen] = f.Value // the cluster's is first
		}
	}
	return figure{Name: "the cluster's rate of deposits, compared with direct ones", Unit: "%", Value: 100 * rates[false] / rates[true]}
}

// faucet is the account of the local cluster's chain that is not the cluster's.
func (c *localCluster) faucet() (*keystore.Key, error) {
	dir := filepath.Join(c.dir, "faucet")
	raw, err := os.ReadFile(filepath.Join(dir, "keystore.json"))
	if err != nil {
		return nil, fmt.Errorf("faucet: %w", err)
	}
	password, err := os.ReadFile(filepath.Join(dir, "password"))
	if err != nil {
		return nil, fmt.Errorf("faucet: %w", err)
	}
	key, err := keystore.DecryptKey(raw, strings.TrimSpace(string(password)))
	if err != nil {
		return nil, fmt.Errorf("faucet: %w", err)
	}
	return key, nil
}

// signDeposits makes real deposits of another seed than the cluster's.
func signDeposits(ctx context.Context, chain *ethclient.Client, payer *keystore.Key, contract common.Address, nonce uint64, keys int) ([]*types.Transaction, error) {
	id, err := chain.ChainID(ctx)
	if err != nil {
		return nil, fmt.Errorf("chain ID: %w", err)
	}
	parsed, err := abi.JSON(strings.NewReader(depositABI))
	if err != nil {
		return nil, fmt.Errorf("ABI: %w", err)
	}
	seed, err := validator.SeedFromBytes(bytes.Repeat([]byte{0xbe}, 64))
	if err != nil {
		return nil, fmt.Errorf("seed: %w", err)
	}
	stake := new(big.Int).Mul(big.NewInt(32), big.NewInt(params.Ether))
	signed := make([]*types.Transaction, keys)
	for i := range signed {
		key, err := seed.SigningKey(uint64(i))
		if err != nil {
			return nil, fmt.Errorf("key: %w", err)
		}
		d, err := validator.NewDepositData(key, validator.AddressCredentials(payer.Address), validator.ActivationGwei, [4]byte{0x10, 0, 0, 0x38})
		if err != nil {
			return nil, fmt.Errorf("deposit data: %w", err)
		}
		input, err := parsed.Pack("deposit", d.PublicKey[:], d.Credentials[:], d.Signature[:], d.Root())
		if err != nil {
			return nil, fmt.Errorf("call data: %w", err)
		}
		signed[i], err = types.SignNewTx(payer.PrivateKey, types.LatestSignerForChainID(id), &types.DynamicFeeTx{
			ChainID: id, Nonce: nonce + uint64(i), To: &contract, Value: stake, Data: input,
			Gas: 400_000, GasFeeCap: big.NewInt(100 * params.GWei), GasTipCap: big.NewInt(params.GWei),
		})
		if err != nil {
			return nil, fmt.Errorf("sign: %w", err)
		}
	}
	return signed, nil
}

// sendAll keeps as many in flight as are allowed, until all are mined.
func sendAll(ctx context.Context, chain *ethclient.Client, payer common.Address, first uint64, signed []*types.Transaction) error {
	sent := 0
	for {
		used, err := chain.NonceAt(ctx, payer, nil)
		if err != nil {
			return fmt.Errorf("nonce: %w", err)
		}
		mined := int(used - first) //nolint:gosec // a count
		for ; sent < min(len(signed), mined+inFlight); sent++ {
			if err := chain.SendTransaction(ctx, signed[sent]); err != nil {
				return fmt.Errorf("send: %w", err)
			}
		}
		if mined == len(signed) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(errTimeout, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}
