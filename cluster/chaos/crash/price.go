package main

import (
	"context"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common/hexutil"
)

// The least that geth takes for a deposit, in wei per gas beyond the base fee. A
// deposit offers a gwei first, and an eighth more when it is replaced.
const (
	priceUsual = 1
	priceDear  = 1_100_000_000
)

// price sets the least that geth takes.
func (s *stage) price(ctx context.Context, wei int64) error {
	if err := s.chain.Client().CallContext(ctx, nil, "miner_setGasPrice", (*hexutil.Big)(big.NewInt(wei))); err != nil {
		return fmt.Errorf("set geth's price: %w", err)
	}
	return nil
}
