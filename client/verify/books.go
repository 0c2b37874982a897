package verify

import (
	"context"
	"fmt"

	"github.com/ethereum/go-ethereum/common"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// Books is what a cluster says of its stakes.
type Books struct {
	Keys     []wire.Key
	Deposits map[validator.PublicKey]wire.Deposit
	Accounts []wire.FundingAccount
}

// ReadBooks asks the cluster's leader for all keys, deposits and accounts.
// Accounts are read before the deposits, and those before the keys: what
// changes meanwhile is settled by reading again.
func ReadBooks(ctx context.Context, c *client.Client) (*Books, error) {
	b := &Books{Deposits: make(map[validator.PublicKey]wire.Deposit)}
	first, err := c.DepositPage(ctx, "", "")
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was asked
	}
	b.Accounts = first.Accounts
	for d, err := range c.Deposits(ctx, "") {
		if err != nil {
			return nil, err //nolint:wrapcheck // as above
		}
		key, err := validator.ParsePublicKey(d.Pubkey)
		if err != nil {
			return nil, fmt.Errorf("deposits: %w", err)
		}
		b.Deposits[key] = d
	}
	for k, err := range c.Keys(ctx, "") {
		if err != nil {
			return nil, err //nolint:wrapcheck // as above
		}
		b.Keys = append(b.Keys, k)
	}
	return b, nil
}

// keys returns the public keys whose events are of interest.
func (b *Books) keys() (map[validator.PublicKey]bool, error) {
	keys := make(map[validator.PublicKey]bool, len(b.Keys))
	for _, k := range b.Keys {
		key, err := validator.ParsePublicKey(k.Pubkey)
		if err != nil {
			return nil, fmt.Errorf("keys: %w", err)
		}
		keys[key] = true
	}
	for key := range b.Deposits {
		keys[key] = true
	}
	return keys, nil
}

// addresses returns the accounts that ever paid on a chain.
func (b *Books) addresses(chainID uint64) []common.Address {
	var all []common.Address
	for _, a := range b.Accounts {
		if uint64(a.ChainID) == chainID { //nolint:gosec // of the API, not negative
			all = append(all, common.HexToAddress(a.Address))
		}
	}
	return all
}

// retired returns why keys are retired.
func (b *Books) retired() map[validator.PublicKey]string {
	retired := make(map[validator.PublicKey]string)
	for _, k := range b.Keys {
		if key, err := validator.ParsePublicKey(k.Pubkey); err == nil && k.State == wire.KeyStateRetired {
			retired[key] = k.RetiredReason
		}
	}
	return retired
}
