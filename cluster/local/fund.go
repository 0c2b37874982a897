package local

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/ethereum/go-ethereum/params"
	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/cluster/await"
)

const (
	faucetFolder = "faucet"
	fundTime     = time.Minute
)

func fundCommand() *cobra.Command {
	dir, eth := DefaultDir, uint64(0)
	cmd := &cobra.Command{
		Use:   "fund --eth N",
		Short: "Give the account that pays for deposits more ether",
		Long: `Sends ether to the account that pays for the deposits of a running cluster which
was made with --` + flagFundingETH + `. It comes from another account of the same chain.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if eth == 0 || eth > maxFundingETH {
				return fmt.Errorf("%w: --eth %d: want 1 to %d", ErrUsage, eth, uint64(maxFundingETH))
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), fundTime)
			defer cancel()
			balance, to, err := fund(ctx, dir, eth)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s now has %s ETH\n", to, balance)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", dir, "folder of the cluster")
	cmd.Flags().Uint64Var(&eth, "eth", 0, "how much to send, in ETH")
	return cmd
}

// fund sends ether to the funding account of the cluster in dir, waits until it
// is there, and returns what the account has then, in ETH.
func fund(ctx context.Context, dir string, eth uint64) (balance string, to common.Address, err error) {
	file, err := ReadClusterFile(dir)
	if err != nil {
		return "", to, fmt.Errorf("%w: does the cluster run?", err)
	}
	to = common.HexToAddress(file.Chain.FundedAddress)
	faucet, err := openFaucet(dir)
	if err != nil {
		return "", to, err
	}
	chain, err := ethclient.DialContext(ctx, file.Chain.RPC)
	if err != nil {
		return "", to, fmt.Errorf("chain at %s: %w", file.Chain.RPC, err)
	}
	defer chain.Close()
	if err := send(ctx, chain, faucet, to, new(big.Int).Mul(new(big.Int).SetUint64(eth), big.NewInt(params.Ether))); err != nil {
		return "", to, fmt.Errorf("send %d ETH to %s: %w", eth, to, err)
	}
	wei, err := chain.BalanceAt(ctx, to, nil)
	if err != nil {
		return "", to, fmt.Errorf("balance of %s: %w", to, err)
	}
	return new(big.Rat).SetFrac(wei, big.NewInt(params.Ether)).FloatString(4), to, nil
}

func openFaucet(dir string) (*keystore.Key, error) {
	account := fundingIn(filepath.Join(dir, faucetFolder))
	raw, err := os.ReadFile(account.Keystore)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: the account in %s had plenty from the beginning; a cluster that is made with --%s can be given more", ErrUsage, dir, flagFundingETH)
	}
	if err != nil {
		return nil, fmt.Errorf("account of the faucet: %w", err)
	}
	password, err := os.ReadFile(account.Password)
	if err != nil {
		return nil, fmt.Errorf("account of the faucet: %w", err)
	}
	key, err := keystore.DecryptKey(raw, strings.TrimSpace(string(password)))
	if err != nil {
		return nil, fmt.Errorf("account of the faucet: %w", err)
	}
	return key, nil
}

// send makes one transfer and waits for its receipt.
func send(ctx context.Context, chain *ethclient.Client, from *keystore.Key, to common.Address, wei *big.Int) error {
	id, err := chain.ChainID(ctx)
	if err != nil {
		return err //nolint:wrapcheck // the caller says what was sent
	}
	nonce, err := chain.PendingNonceAt(ctx, from.Address)
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	head, err := chain.HeaderByNumber(ctx, nil)
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	tip := big.NewInt(params.GWei)
	limit := new(big.Int).Add(new(big.Int).Mul(head.BaseFee, big.NewInt(2)), tip)
	tx, err := types.SignNewTx(from.PrivateKey, types.LatestSignerForChainID(id), &types.DynamicFeeTx{
		ChainID: id, Nonce: nonce, To: &to, Value: wei, Gas: params.TxGas, GasFeeCap: limit, GasTipCap: tip,
	})
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	if err := chain.SendTransaction(ctx, tx); err != nil {
		return err //nolint:wrapcheck // as above
	}
	return await.Poll(ctx, func() (bool, error) {
		receipt, err := chain.TransactionReceipt(ctx, tx.Hash())
		return err == nil && receipt.Status == types.ReceiptStatusSuccessful, nil
	})
}
