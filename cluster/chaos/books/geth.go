package books

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/ethclient"

	"github.com/keysteward/keysteward/cluster/await"
	"github.com/keysteward/keysteward/cluster/local"
	"github.com/keysteward/keysteward/cluster/local/devchain"
)

const (
	blockPeriod = "1"  // seconds, the shortest of geth
	gethCache   = "64" // megabytes
	gethTime    = 30 * time.Second
)

var errGeth = errors.New("geth does not run")

// StartGeth makes a chain that begins with the deposit contract and a rich account
// that pays, starts a geth on it beside the nodes, and returns when blocks come.
func StartGeth(ctx context.Context, geth, dir string, nodes *local.Nodes) (*ethclient.Client, error) {
	genesis, err := devchain.GethGenesis(devchain.DefaultChainID, nodes.FundedAddress())
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it is
	}
	data := filepath.Join(dir, "geth", "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, fmt.Errorf("folder of geth: %w", err)
	}
	file := filepath.Join(dir, "geth", "genesis.json")
	if err := os.WriteFile(file, genesis, 0o600); err != nil {
		return nil, fmt.Errorf("genesis block: %w", err)
	}
	if out, err := exec.CommandContext(ctx, geth, "--datadir", data, "init", file).CombinedOutput(); err != nil { //nolint:gosec // the program that is tested with
		return nil, fmt.Errorf("geth init: %w\n%s", err, out)
	}
	host, port, _ := net.SplitHostPort(nodes.ChainAddress())
	ended, err := nodes.Program(ctx, "geth", geth,
		"--datadir", data, "--dev", "--dev.period", blockPeriod,
		"--http", "--http.addr", host, "--http.port", port, "--http.api", "eth,net,web3,miner",
		"--port", "0", "--maxpeers", "0", "--nodiscover", "--ipcdisable", "--cache", gethCache)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it is
	}
	chain, err := ethclient.DialContext(ctx, "http://"+nodes.ChainAddress())
	if err != nil {
		return nil, fmt.Errorf("geth: %w", err)
	}
	return chain, await.Until(ctx, gethTime, errGeth, func() (bool, error) {
		select {
		case <-ended:
			return false, fmt.Errorf("%w: it ended, see %s", errGeth, filepath.Join(dir, "geth", "log"))
		default:
		}
		head, err := chain.BlockNumber(ctx)
		return err == nil && head > 0, nil
	})
}

// ChainOf is what the nodes are told of geth's chain.
func ChainOf(nodes *local.Nodes) local.ClusterChain {
	return local.ClusterChain{
		RPC: "http://" + nodes.ChainAddress(), ChainID: devchain.DefaultChainID,
		DepositContract: devchain.DepositContract().Hex(),
		ForkVersion:     fmt.Sprintf("0x%x", devchain.ForkVersion), FundedAddress: nodes.FundedAddress().Hex(),
	}
}

// Withdrawals are the credentials of every deposit of such a cluster.
func Withdrawals() string {
	return "0x010000000000000000000000" + common.Bytes2Hex(common.HexToAddress(local.WithdrawalAddress).Bytes())
}
