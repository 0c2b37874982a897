package devchain

import (
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core"
	"github.com/ethereum/go-ethereum/core/rawdb"
	"github.com/ethereum/go-ethereum/eth"
	"github.com/ethereum/go-ethereum/eth/catalyst"
	"github.com/ethereum/go-ethereum/eth/ethconfig"
	"github.com/ethereum/go-ethereum/eth/filters"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/node"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/rpc"
)

// openEthereum starts go-ethereum on the folder and fills in stack, backend and beacon.
// It returns the RPC modules.
func (c *Chain) openEthereum(first *core.Genesis) ([]rpc.API, error) {
	stack, err := node.New(nodeConfig(c.config.Dir, captureGethLog(c.config.Logger)))
	if errors.Is(err, node.ErrDatadirUsed) {
		return nil, fmt.Errorf("%w: %s", ErrDirInUse, c.config.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open the development chain's folder: %w", err)
	}
	backend, err := eth.New(stack, ethereumConfig(first))
	if err != nil {
		err = fmt.Errorf("open the development chain: %w", err)
		if _, mismatch := errors.AsType[*core.GenesisMismatchError](err); mismatch {
			err = fmt.Errorf("%w: %w", ErrForeignDir, err)
		}
		return nil, errors.Join(err, stack.Close())
	}
	if err := stack.Start(); err != nil {
		return nil, fmt.Errorf("start the development chain: %w", err)
	}
	beacon, err := catalyst.NewSimulatedBeacon(0, common.Address{}, backend)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start sealing the development chain: %w", err), stack.Close())
	}
	logs := filters.NewFilterAPI(filters.NewFilterSystem(backend.APIBackend, filters.Config{}))
	c.stack, c.backend, c.beacon = stack, backend, beacon
	return append(backend.APIs(), rpc.API{Namespace: "eth", Service: logs}), nil
}

// nodeConfig opens no port of any kind: the chain serves its RPC itself.
func nodeConfig(dir string, logger log.Logger) *node.Config {
	return &node.Config{
		Name:    "devchain",
		DataDir: dir,
		P2P:     p2p.Config{NoDiscovery: true}, // no peers, no listener
		Logger:  logger,
	}
}

// ethereumConfig keeps everything for ever and writes it at once; see the package comment.
func ethereumConfig(first *core.Genesis) *ethconfig.Config {
	config := ethconfig.Defaults
	config.Genesis = first
	config.SyncMode = ethconfig.FullSync

	config.StateScheme = rawdb.HashScheme
	config.NoPruning = true
	config.TransactionHistory = 0 // no limit: receipts of all blocks are found by hash
	config.LogNoHistory = true    // no log index, which costs four times as much as sealing: a search reads the headers

	// The defaults are for mainnet; these are megabytes.
	config.DatabaseCache, config.DatabaseHandles = 16, 64
	config.TrieCleanCache, config.TrieDirtyCache, config.SnapshotCache = 16, 0, 0

	config.Miner.GasCeil = gasLimit
	config.TxPool.NoLocals = true
	config.TxPool.Journal = ""
	config.BlobPool.Datadir = ""
	return &config
}
