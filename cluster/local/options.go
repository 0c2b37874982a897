package local

import (
	"errors"
	"fmt"
)

// Defaults of Options.
const (
	DefaultDir       = ".local"
	DefaultNodes     = 3
	DefaultAPIPort   = 8200
	DefaultRaftPort  = 8300
	DefaultChainPort = 8545
)

// maxNodes keeps the ranges of ports apart, and a laptop usable.
const maxNodes = 25

// maxFundingETH leaves the faucet as much as the account.
const maxFundingETH = 1_000_000_000

// Port is the first of some ports, as its user chose it.
type Port struct {
	// Number is the port; 0 picks free ones.
	Number int
	// Given is false for a default, which gives way to the ports of an earlier start.
	Given bool
}

// Options say what to run and where.
type Options struct {
	// Dir is the folder of all data: missing, empty, or one that a launcher made.
	Dir string
	// Nodes is how many there are; 0 means as many as before, else DefaultNodes.
	Nodes int
	// APIPort and RaftPort are those of the first node; the others' follow.
	APIPort, RaftPort Port
	// ChainPort serves the chain's JSON-RPC.
	ChainPort Port
	// FundingETH is what the funding account has at the beginning; 0 means as before,
	// else more than anybody needs.
	FundingETH uint64
	// Examples is how many example pods get keys.
	Examples int
	// TLS makes certificates and has the nodes speak TLS on both ports; a folder that
	// was made so stays so.
	TLS bool
	// Once stops everything when the examples have their keys.
	Once bool
	// NodeFlags are flags of every node, which overrule the launcher's.
	NodeFlags []string
	// Keysteward is the node's binary; empty looks beside this program, then in PATH.
	Keysteward string
}

// ErrUsage is wrapped by errors about options that can not be right.
var ErrUsage = errors.New("wrong usage")

func (o Options) check() error {
	if o.Dir == "" {
		return fmt.Errorf("%w: --dir is empty", ErrUsage)
	}
	if o.Nodes < 0 || o.Nodes > maxNodes {
		return fmt.Errorf("%w: --nodes %d: want 1 to %d", ErrUsage, o.Nodes, maxNodes)
	}
	if o.FundingETH > maxFundingETH {
		return fmt.Errorf("%w: --%s %d: want at most %d", ErrUsage, flagFundingETH, o.FundingETH, uint64(maxFundingETH))
	}
	if o.Examples < 0 || o.Examples > 1000 {
		return fmt.Errorf("%w: --examples %d: want 0 to 1000", ErrUsage, o.Examples)
	}
	for _, p := range []struct {
		flag string
		port Port
		last int
	}{{flagAPIPort, o.APIPort, maxNodes}, {flagRaftPort, o.RaftPort, maxNodes}, {flagChainPort, o.ChainPort, 1}} {
		if p.port.Number < 0 || p.port.Number+p.last-1 > 65535 {
			return fmt.Errorf("%w: --%s %d: want 0 (pick free ones) to %d", ErrUsage, p.flag, p.port.Number, 65536-p.last)
		}
	}
	return nil
}
