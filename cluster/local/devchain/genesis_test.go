package devchain

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core"
	"github.com/ethereum/go-ethereum/params"
	"github.com/stretchr/testify/require"
)

func first(chainID uint64, funded byte) *core.Genesis {
	return genesis(Config{ChainID: chainID, Funded: common.Address{funded}, FundedETH: plentyETH})
}

func TestGenesisHoldsTheDepositContract(t *testing.T) {
	t.Parallel()
	contract := first(DefaultChainID, 1).Alloc[depositContract()]
	require.Len(t, contract.Code, 6358)
	require.Len(t, contract.Storage, 31, "the zero hashes")
}

// TestGenesisStaysTheSame guards existing folders: with another genesis block they are refused.
func TestGenesisStaysTheSame(t *testing.T) {
	t.Parallel()
	want := common.HexToHash("0xd22acb56b68ebb80e2c43f488d5f699cbbdac3a82d7d588b796c36a2e6fd32cf")
	require.Equal(t, want, first(DefaultChainID, 1).ToBlock().Hash())
	require.Equal(t, want, first(7777, 1).ToBlock().Hash(), "the chain ID is not part of it: hence the marker")
	require.NotEqual(t, want, first(DefaultChainID, 2).ToBlock().Hash())
}

func TestGenesisLeavesSharedConfigAlone(t *testing.T) {
	t.Parallel()
	first(7777, 1)
	require.Equal(t, uint64(1337), params.AllDevChainProtocolChanges.ChainID.Uint64())
}

// TestGethLog is not parallel: the logger belongs to the process.
func TestGethLog(t *testing.T) { //nolint:paralleltest // other chains would take the logger
	var lines bytes.Buffer
	before := slog.Default()
	geth := captureGethLog(slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug})))
	require.Same(t, before, slog.Default(), "the process's own logger is not touched")

	geth.Info("quiet")
	geth.With("a", 1).Info("quiet")
	geth.Warn("Unclean shutdown detected")
	require.Empty(t, lines.String())
	geth.With("a", 1).Warn("loud")
	require.Contains(t, lines.String(), `level=WARN msg=loud from=go-ethereum a=1`)
}

func TestGethGenesisIsTheSameBlock(t *testing.T) {
	t.Parallel()
	raw, err := GethGenesis(7777, common.Address{1})
	require.NoError(t, err)
	var read core.Genesis
	require.NoError(t, json.Unmarshal(raw, &read))
	require.Equal(t, first(7777, 1).ToBlock().Hash(), read.ToBlock().Hash())
	require.Equal(t, uint64(7777), read.Config.ChainID.Uint64())
	require.Equal(t, DepositContract(), read.Config.DepositContractAddress)
	require.NotNil(t, read.Config.PragueTime)
	require.Nil(t, read.Config.OsakaTime)
	require.NotNil(t, first(7777, 1).Config.OsakaTime, "only there")
}
