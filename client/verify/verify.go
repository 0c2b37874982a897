package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// Config says what is compared.
type Config struct {
	// Client asks the cluster.
	Client *client.Client
	// ExecutionRPC is the http or https URL of an execution client that keeps all
	// logs of the deposit contract.
	ExecutionRPC string
	// Contract is the deposit contract; the zero address means that of the public
	// network which the chain ID names.
	Contract common.Address
	// StartBlock is the first block that is read. Deposits before it are not seen.
	StartBlock uint64
	// ForkVersion is the genesis fork version that deposits are signed for; nil
	// means that of the public network, and no check of signatures on other chains.
	ForkVersion *[4]byte
	// Settle is how long differences are looked at again: deposits that are on
	// their way while both sides are read look different for a moment.
	Settle time.Duration
	// Pause between two readings; 0 means three seconds.
	Pause time.Duration
	// Progress is told how many blocks of how many were read; may be nil.
	Progress func(done, total uint64)
}

// Report is what came of a comparison.
type Report struct {
	ChainID uint64 `json:"chainId"`
	// Head is the newest block that was read.
	Head uint64 `json:"head"`
	// Keys of the cluster, and its deposits by state.
	Keys     int                       `json:"keys"`
	Deposits map[wire.DepositState]int `json:"deposits"`
	// Events is how many DepositEvents the chain shows for the cluster's keys, and
	// PaidGwei what the cluster's own transactions paid with them, in gwei.
	Events   int    `json:"events"`
	PaidGwei uint64 `json:"paidGwei"`
	// Nonces of the cluster's accounts that were accounted for.
	Nonces int64 `json:"nonces"`
	// Notes say what could not be compared.
	Notes []string `json:"notes,omitempty"`
	// Differences is empty if and only if the account is clean.
	Differences []Difference `json:"differences"`
}

// Run reads both sides and compares them, again and again until no difference is
// left that each reading found, or Settle is over. Errors wrap ErrChain,
// ErrOtherChain, or those of the client: without an error every difference that
// there is stands in the report.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	books, err := ReadBooks(ctx, cfg.Client)
	if err != nil {
		return nil, err
	}
	r, fork, notes, err := open(ctx, cfg, books)
	if err != nil {
		return nil, err
	}
	defer r.rpc.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	deadline := time.Now().Add(cfg.Settle)
	var lasting []Difference
	for compared := false; ; {
		chain, err := r.read(ctx)
		over := !time.Now().Before(deadline)
		switch {
		case errors.Is(err, errHides) && !over: // a reorganisation meanwhile, or the client shows it later
		case err != nil:
			return nil, err
		default:
			found := compare(books, chain, r.keys, fork)
			if compared {
				found = slices.DeleteFunc(found, func(d Difference) bool { return !slices.ContainsFunc(lasting, d.same) })
			}
			if lasting, compared = found, true; len(lasting) == 0 || over {
				return report(books, chain, lasting, append(notes, chain.notes(books)...)), nil
			}
		}
		if err := wait(ctx, cfg.Pause); err != nil {
			return nil, err
		}
		if books, err = ReadBooks(ctx, cfg.Client); err != nil {
			return nil, err
		}
	}
}

func wait(ctx context.Context, pause time.Duration) error {
	if pause == 0 {
		pause = 3 * time.Second
	}
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for deposits under way: %w", ctx.Err())
	}
}

// open connects to the execution client and makes sure that it is on the chain
// of the cluster's deposits.
func open(ctx context.Context, cfg Config, books *Books) (r *reader, fork *[4]byte, notes []string, err error) {
	e, err := dial(ctx, cfg.ExecutionRPC, cfg.Contract, cfg.StartBlock)
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() {
		if err != nil {
			e.rpc.Close()
		}
	}()
	r = &reader{endpoint: e, progress: cfg.Progress}
	chain, _, err := r.identify(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := sameChain(chain, books); err != nil {
		return nil, nil, nil, fmt.Errorf("%w: %s", err, e.host)
	}
	fork = cfg.ForkVersion
	if network, ok := public(chain.ID); ok {
		if e.contract == (common.Address{}) {
			e.contract = network.DepositContract
		}
		fork = &network.ForkVersion
	}
	if e.contract == (common.Address{}) {
		return nil, nil, nil, fmt.Errorf("%w: chain %d is no public network, so its deposit contract has to be named", ErrOtherChain, chain.ID)
	}
	if fork == nil {
		notes = append(notes, fmt.Sprintf("signatures were not verified: the fork version of chain %d was not given", chain.ID))
	}
	if r.keys, err = books.keys(); err != nil {
		return nil, nil, nil, err
	}
	r.accounts = books.addresses(chain.ID)
	return r, fork, notes, nil
}

// sameChain compares the chain with the accounts that were opened on it.
func sameChain(c *Chain, books *Books) error {
	known := len(books.Accounts) == 0
	for _, a := range books.Accounts {
		if uint64(a.ChainID) != c.ID { //nolint:gosec // not negative
			continue
		}
		if known = true; !sameHash(a.GenesisHash, c.Genesis) {
			return fmt.Errorf("%w: its first block is %s, the cluster paid on the chain that begins with %s", ErrOtherChain, c.Genesis, a.GenesisHash)
		}
	}
	if !known {
		return fmt.Errorf("%w: its ID is %d, the cluster paid on %d", ErrOtherChain, c.ID, books.Accounts[0].ChainID)
	}
	return nil
}

func public(chainID uint64) (validator.Network, bool) {
	for _, name := range validator.NetworkNames() {
		if n, err := validator.NetworkByName(name); err == nil && n.ChainID == chainID {
			return n, true
		}
	}
	return validator.Network{}, false
}

func report(books *Books, chain *Chain, differences []Difference, notes []string) *Report {
	r := &Report{
		ChainID: chain.ID, Head: chain.Head, Keys: len(books.Keys), Deposits: make(map[wire.DepositState]int),
		Notes: notes, Differences: append([]Difference{}, differences...),
	}
	for _, d := range books.Deposits {
		r.Deposits[d.State]++
	}
	for key, events := range chain.Events {
		r.Events += len(events)
		for _, e := range events {
			if strings.EqualFold(books.Deposits[key].Account, chain.Transactions[e.TxHash].From.Hex()) {
				r.PaidGwei += e.AmountGwei
			}
		}
	}
	for _, a := range books.Accounts {
		if uint64(a.ChainID) == chain.ID { //nolint:gosec // not negative
			r.Nonces += a.NextNonce - a.FirstNonce
		}
	}
	return r
}
