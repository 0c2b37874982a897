package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node/ethereum"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

const (
	networkCustom = "custom"
	flagDeposits  = "deposits"
	weiPerGwei    = 1_000_000_000
	maxFeeGwei    = 1_000_000_000 // one ETH per gas: more is a slip of the hand
)

// config makes the duty's configuration of the flags. Without an execution
// client there are no deposits, and nothing else about them may be set, but what
// says which network it is where exits are noticed.
func (o *depositOptions) config(exits bool) (ethereum.Config, error) {
	cfg := ethereum.Config{
		RPC: o.rpc, AmountGwei: o.amountGwei, InFlight: o.inFlight,
		Confirmations: o.confirmations, StartBlock: o.startBlock, UnusedBefore: o.unusedBefore, MaxFeeWei: o.maxFeeGwei * weiPerGwei,
		MaxPerDay: o.maxPerDay, Off: o.off(), SpareKeys: o.spareKeys,
	}
	if o.onOff != "on" && o.onOff != "off" {
		return cfg, fmt.Errorf("--%s %q: want on or off", flagDeposits, o.onOff)
	}
	if len(o.rpc) == 0 {
		return cfg, o.checkUnused(exits)
	}
	if o.unusedBefore && o.startBlock == 0 {
		return cfg, errors.New("--seed-unused-before-start-block goes with a --deposit-start-block above 0")
	}
	if o.maxPerDay < 0 || o.maxPerDay > math.MaxInt32 {
		return cfg, fmt.Errorf("--max-deposits-per-day %d: want 0 or more", o.maxPerDay)
	}
	if o.spareKeys < 0 || o.spareKeys > fsm.MaxSpareKeys {
		return cfg, fmt.Errorf("--spare-keys %d: want 0 to %d", o.spareKeys, fsm.MaxSpareKeys)
	}
	if o.maxFeeGwei == 0 || o.maxFeeGwei > maxFeeGwei {
		return cfg, fmt.Errorf("--max-fee-gwei %d: want 1 to %d", o.maxFeeGwei, maxFeeGwei)
	}
	var err error
	if cfg.Network, err = o.networkOf(); err != nil {
		return cfg, err
	}
	if cfg.Withdrawal, err = o.withdrawal(); err != nil {
		return cfg, err
	}
	if cfg.Funding, err = o.funding(); err != nil {
		return cfg, err
	}
	return cfg, cfg.Check()
}

// off reports whether requests are served from the pool only.
func (o *depositOptions) off() bool { return o.onOff == "off" }

// checkUnused refuses flags that would be without effect: whoever sets them
// believes that deposits are made. The network also bounds --rest-after-proof.
func (o *depositOptions) checkUnused(exits bool) (err error) {
	used := []string{"network", "genesis-time", "genesis-validators-root", flagDeposits}
	if exits {
		used = append(used, "chain-id", "fork-version", "deposit-contract")
	}
	o.flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed && !slices.Contains(used, f.Name) && err == nil {
			err = fmt.Errorf("--execution-rpc is missing: --%s needs it", f.Name)
		}
	})
	return err
}

func (o *depositOptions) networkOf() (validator.Network, error) {
	custom := o.chainID != 0 || o.contract != "" || o.forkVersion != "" || o.confirmations != 0
	if o.network != networkCustom {
		if custom {
			return validator.Network{}, errors.New("--chain-id, --deposit-contract, --fork-version and --confirmations are for --network custom")
		}
		n, err := validator.NetworkByName(o.network)
		if err != nil {
			return n, fmt.Errorf("--network: %w, or %s", err, networkCustom)
		}
		return n, nil
	}
	n := validator.Network{Name: networkCustom, ChainID: o.chainID}
	if o.chainID == 0 {
		return n, errors.New("--chain-id is required with --network custom")
	}
	version, err := hex.DecodeString(strings.TrimPrefix(o.forkVersion, "0x"))
	if err != nil || len(version) != len(n.ForkVersion) {
		return n, fmt.Errorf("--fork-version %q: want 0x and 8 hex digits", o.forkVersion)
	}
	n.ForkVersion = [4]byte(version)
	if n.DepositContract, err = validator.ParseAddress(o.contract); err != nil {
		return n, fmt.Errorf("--deposit-contract: %w", err)
	}
	return n, nil
}

func (o *depositOptions) withdrawal() (ethereum.Withdrawal, error) {
	switch {
	case o.bls && (o.withdrawalAddress != "" || o.compounding):
		return ethereum.Withdrawal{}, errors.New("--bls-withdrawal excludes --withdrawal-address and --compounding")
	case o.bls:
		return ethereum.Withdrawal{Kind: ethereum.BLS}, nil
	case o.withdrawalAddress == "":
		return ethereum.Withdrawal{}, errors.New("say where stakes are withdrawn to: --withdrawal-address or --bls-withdrawal")
	}
	to, err := validator.ParseAddress(o.withdrawalAddress)
	if err != nil {
		return ethereum.Withdrawal{}, fmt.Errorf("--withdrawal-address: %w", err)
	}
	kind := ethereum.Address
	if o.compounding {
		kind = ethereum.Compounding
	}
	return ethereum.Withdrawal{Kind: kind, To: to}, nil
}

// funding makes the account that pays of a keystore file, or of an external signer.
func (o *depositOptions) funding() (ethereum.Signer, error) {
	keystore, signer := o.keystore != "" || o.passwordFile != "", o.signer != "" || o.signerAddress != ""
	switch {
	case keystore && signer:
		return nil, errors.New("--funding-keystore excludes --funding-signer")
	case signer && (o.signer == "" || o.signerAddress == ""):
		return nil, errors.New("--funding-signer and --funding-address go together")
	case signer:
		address, err := validator.ParseAddress(o.signerAddress)
		if err != nil {
			return nil, fmt.Errorf("--funding-address: %w", err)
		}
		f, err := ethereum.FundingFromExternal(o.signer, address)
		if err != nil {
			return nil, fmt.Errorf("--funding-signer: %w", err)
		}
		return f, nil
	case o.keystore == "" || o.passwordFile == "":
		return nil, errors.New("--execution-rpc needs an account to pay from: --funding-keystore and --funding-password-file, or --funding-signer and --funding-address")
	}
	f, err := ethereum.FundingFromKeystore(o.keystore, o.passwordFile)
	if err != nil {
		return nil, fmt.Errorf("--funding-keystore: %w", err)
	}
	return f, nil
}

// depositEvents shows how far the index has come, where the node keeps one.
func depositEvents(cfg ethereum.Config, x *ethereum.Indexer) func() wire.DepositEvents {
	if len(cfg.RPC) == 0 {
		return nil
	}
	return func() wire.DepositEvents {
		s := x.Status()
		return wire.DepositEvents{
			NextBlock: int64(s.NextBlock), Head: int64(s.Head), Events: int64(s.Events), Complete: s.Complete, //nolint:gosec // they are counted one by one
			Waiting: wire.Reason{Code: string(s.Code), Detail: s.Detail},
		}
	}
}
