package ethereum

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/params"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node/ethereum/validator"
	"github.com/keysteward/keysteward/node/tracing"
)

// DefaultInFlight is how many deposits may be signed and not mined, unless
// configured. Execution clients accept at least so many pending transactions of
// one account.
const DefaultInFlight = 16

// MaxInFlight bounds Config.InFlight; a signed deposit is less than 1 KiB of log.
const MaxInFlight = 512

// DefaultMaxFeeGwei is the cap of fees, in gwei per gas, unless configured.
const DefaultMaxFeeGwei = 2_000

// DefaultReplaceAfter is how many blocks a transaction waits before its fees are
// raised, unless configured: five minutes on public networks.
const DefaultReplaceAfter = 25

// Poll intervals for which no event is needed to make a pass.
const (
	pollCustom = 500 * time.Millisecond
	pollPublic = 4 * time.Second
)

// ErrConfig is wrapped by every error of New about its configuration.
var ErrConfig = errors.New("invalid deposit configuration")

// Config says where deposits are paid, from which account, and to whose benefit.
type Config struct {
	// RPC holds the JSON-RPC URLs (http or https) of execution clients. One is used
	// at a time, the first that is well; all that answer must agree on the chain.
	// Without any no deposit is made, which the status says; keys
	// are generated all the same.
	RPC []string
	// Network is a public network or a custom one. Chain ID and deposit contract
	// must be what the execution client shows.
	Network validator.Network
	// Withdrawal says where stakes go when they are withdrawn. It has no default.
	Withdrawal Withdrawal
	// AmountGwei is the stake per key in gwei; validator.CheckAmount must accept it.
	AmountGwei uint64
	// InFlight is how many deposits may be signed and not mined, 1 to MaxInFlight;
	// 0 means DefaultInFlight.
	InFlight int
	// Confirmations is the depth at which a block is final: 1 is the head block.
	// Only for custom networks; 0 means the chain's own finalized block.
	Confirmations uint64
	// StartBlock is where the search for earlier deposits begins: 0, the block in
	// which the deposit contract was made, or a later one before which no key of
	// this cluster's seed can have got a deposit. For the last the execution client
	// must know the contract's state in the block before.
	StartBlock uint64
	// UnusedBefore is the operator's word that no key of the seed got a deposit
	// before StartBlock, but those that this cluster made. Without it nothing is
	// searched or signed if the contract counts deposits before StartBlock.
	UnusedBefore bool
	// IndexFile is where DepositEvents are kept; it can be removed while nothing runs,
	// and is then read from the chain again. Empty means a temporary file.
	IndexFile string
	// MaxFeeWei is the most that a transaction ever offers, in wei per gas, base fee
	// and tip together (EIP-1559); 0 means DefaultMaxFeeGwei.
	MaxFeeWei uint64
	// ReplaceAfter is how many blocks a transaction waits before it is replaced by
	// one with higher fees; 0 means DefaultReplaceAfter.
	ReplaceAfter uint64
	// MaxPerDay is how many deposits may be signed within 24 hours of cluster time;
	// 0 is no limit.
	MaxPerDay int
	// SpareKeys is how many keys are kept beyond those that requests reserve, free or
	// with their deposits on their way: 0 to fsm.MaxSpareKeys.
	SpareKeys int
	// Off has no new deposit planned or signed. Those that were signed are carried
	// to their end, replacements of their transactions included.
	Off bool
	// Funding signs for the account that pays.
	Funding Signer
	// Poll is the time between passes when nothing happens; 0 means half a second
	// on custom networks and four seconds elsewhere.
	Poll time.Duration
	// Logger gets the duty's lines; nil discards them.
	Logger *slog.Logger
	// Tracer makes spans of what is done outside; nil makes none.
	Tracer trace.Tracer
	// Origins know the requests for which it is done; nil knows none.
	Origins *tracing.Origins
	// Metrics gets the duty's metrics; nil keeps them private.
	Metrics prometheus.Registerer
	// Now is the clock for pacing status reports; nil means time.Now.
	Now func() time.Time
}

// configured reports whether deposits are to be made at all.
func (c Config) configured() bool { return len(c.RPC) > 0 }

// complete returns c with defaults filled in, or why it can not be.
func (c Config) complete() (Config, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.InFlight == 0 {
		c.InFlight = DefaultInFlight
	}
	if c.MaxFeeWei == 0 {
		c.MaxFeeWei = DefaultMaxFeeGwei * params.GWei
	}
	if c.ReplaceAfter == 0 {
		c.ReplaceAfter = DefaultReplaceAfter
	}
	if c.Poll == 0 {
		c.Poll = pollPublic
		if !isPublic(c.Network) {
			c.Poll = pollCustom
		}
	}
	if c.Poll < 0 {
		return c, fmt.Errorf("%w: the poll interval %v is negative", ErrConfig, c.Poll)
	}
	if !c.configured() {
		return c, nil
	}
	return c, c.check()
}

// Check finds what is wrong with the configuration, before anything is opened
// with it; its errors wrap ErrConfig.
func (c Config) Check() error {
	_, err := c.complete()
	return err
}

func (c Config) check() error {
	for _, text := range c.RPC {
		// The URL may hold an access key, so it stays out of the error.
		u, err := url.Parse(text)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return fmt.Errorf("%w: an execution client's address must be an http or https URL with a host", ErrConfig)
		}
	}
	if err := c.checkNetwork(); err != nil {
		return err
	}
	if err := c.Withdrawal.check(); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err := validator.CheckAmount(c.AmountGwei, c.Withdrawal.example()); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err := c.checkCounts(); err != nil {
		return err
	}
	if c.MaxFeeWei < leastTip {
		return fmt.Errorf("%w: a cap of %d wei per gas: execution clients take no transaction for less than %d", ErrConfig, c.MaxFeeWei, uint64(leastTip))
	}
	if c.Funding == nil {
		return fmt.Errorf("%w: no account to pay from", ErrConfig)
	}
	return nil
}

func (c Config) checkCounts() error {
	switch {
	case c.InFlight < 1 || c.InFlight > MaxInFlight:
		return fmt.Errorf("%w: %d deposits in flight: want 1 to %d", ErrConfig, c.InFlight, MaxInFlight)
	case c.SpareKeys < 0 || c.SpareKeys > fsm.MaxSpareKeys:
		return fmt.Errorf("%w: %d spare keys: want 0 to %d", ErrConfig, c.SpareKeys, fsm.MaxSpareKeys)
	case c.UnusedBefore && c.StartBlock == 0:
		return fmt.Errorf("%w: a word about deposits before the start block, which is 0", ErrConfig)
	case c.MaxPerDay < 0 || c.MaxPerDay > math.MaxInt32:
		return fmt.Errorf("%w: %d deposits a day", ErrConfig, c.MaxPerDay)
	}
	return nil
}

// checkNetwork refuses a custom network that would pass for a public one: its
// deposits would be signed for another fork version, and lost.
func (c Config) checkNetwork() error {
	n := c.Network
	if n.ChainID == 0 || n.DepositContract == ([20]byte{}) {
		return fmt.Errorf("%w: a network needs a chain ID and the address of its deposit contract", ErrConfig)
	}
	for _, name := range validator.NetworkNames() {
		public, err := validator.NetworkByName(name)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
		if (n.Name == name || n.ChainID == public.ChainID) && n != public {
			return fmt.Errorf("%w: network %q with chain ID %d is not quite %s", ErrConfig, n.Name, n.ChainID, name)
		}
	}
	if isPublic(n) && c.Confirmations != 0 {
		return fmt.Errorf("%w: on %s a deposit is final when the chain finalizes it, not after %d confirmations", ErrConfig, n.Name, c.Confirmations)
	}
	return nil
}

func isPublic(n validator.Network) bool { return slices.Contains(validator.NetworkNames(), n.Name) }
