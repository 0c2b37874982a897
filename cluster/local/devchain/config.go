package devchain

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// DefaultChainID is the EIP-155 chain ID of a chain whose Config names none:
// "KSWD" in ASCII, which no public network uses.
const DefaultChainID uint64 = 0x4b535744

// DefaultPeriod is the time between two blocks of a chain whose Config names none.
const DefaultPeriod = 500 * time.Millisecond

// minPeriod leaves the chain some time besides sealing: a block with its fsync
// takes a few milliseconds.
const minPeriod = 10 * time.Millisecond

// ForkVersion is the genesis fork version with which deposits on a development
// chain are signed. It differs from that of every public network, so such a
// signature is worth nothing there.
var ForkVersion = [4]byte{0x10, 0x00, 0x00, 0x38}

// Errors of Start, to be told apart with errors.Is. Each leaves the folder as it was.
var (
	// ErrForeignDir says that the folder holds something else than this chain: one with
	// another chain ID, funded account or genesis block, or no chain at all.
	ErrForeignDir = errors.New("the folder does not belong to this development chain")
	// ErrDirInUse says that another running chain has the folder open.
	ErrDirInUse = errors.New("the folder is in use by another development chain")
	// ErrListen says that the RPC address cannot be listened on, for instance because
	// the port is taken.
	ErrListen = errors.New("cannot listen on the RPC address of the development chain")
)

// Config says where and how a development chain runs.
type Config struct {
	// Dir is the data folder. It is made, mode 0700, if it is missing; it must be empty or
	// hold the same chain (same ChainID, Funded, FundedETH and Faucet).
	Dir string
	// RPCAddr is the host:port that serves JSON-RPC over HTTP; port 0 picks a free one.
	// Whoever reaches it can use the chain: there is no authentication.
	RPCAddr string
	// Period is the time from one block to the next, 10 ms or more, whether or not there
	// are transactions. 0 means DefaultPeriod.
	Period time.Duration
	// Funded gets FundedETH in the genesis block; 0 means 1,000,000,000 ETH.
	Funded    common.Address
	FundedETH uint64
	// Faucet gets 1,000,000,000 ETH to give away, if it is not the zero address.
	Faucet common.Address
	// ChainID is the EIP-155 chain ID. 0 means DefaultChainID; IDs of public networks are refused.
	ChainID uint64
	// Logger gets the chain's own lines, and go-ethereum's from warnings upwards. nil discards them.
	Logger *slog.Logger
}

// publicChains are the networks on which real or test stake is deposited. A
// transaction signed for a chain with one of their IDs would be valid there too.
var publicChains = map[uint64]string{
	1: "mainnet", 5: "goerli", 100: "gnosis", 10200: "chiado", 17000: "holesky", 560048: "hoodi", 11155111: "sepolia",
}

// complete returns c with defaults filled in, or why no chain can run so.
func (c Config) complete() (Config, error) {
	if c.Period == 0 {
		c.Period = DefaultPeriod
	}
	if c.ChainID == 0 {
		c.ChainID = DefaultChainID
	}
	if c.FundedETH == 0 {
		c.FundedETH = plentyETH
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Dir == "" {
		return c, errors.New("development chain: no data folder given")
	}
	if c.Period < minPeriod {
		return c, fmt.Errorf("development chain: period %v is shorter than %v", c.Period, minPeriod)
	}
	if c.Funded == (common.Address{}) {
		return c, errors.New("development chain: no account to fund given")
	}
	if c.FundedETH > plentyETH {
		return c, fmt.Errorf("development chain: %d ETH: at most %d", c.FundedETH, uint64(plentyETH))
	}
	if name, public := publicChains[c.ChainID]; public {
		return c, fmt.Errorf("development chain: chain ID %d is that of the public network %s", c.ChainID, name)
	}
	if _, _, err := net.SplitHostPort(c.RPCAddr); err != nil {
		return c, fmt.Errorf("development chain: RPC address %q: %w", c.RPCAddr, err)
	}
	return c, nil
}
