package verify

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"net/url"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

var (
	// ErrChain is wrapped when the execution client does not answer, or not as one
	// whose answers can be relied on.
	ErrChain = errors.New("the execution client")
	// ErrOtherChain is wrapped when it is on another chain than the cluster's deposits.
	ErrOtherChain = errors.New("the execution client is on another chain")
)

// The deposit contract's event and the call data of get_deposit_count().
var (
	depositTopic = common.HexToHash("0x649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5")
	countInput   = hexutil.Bytes{0x62, 0x1f, 0xd1, 0x30}
)

// Event is one deposit that the contract took.
type Event struct {
	validator.DepositData

	Index       uint64 // the contract's number of it
	BlockNumber uint64
	BlockHash   common.Hash
	TxHash      common.Hash
}

// Transaction is what is known of a transaction in a block.
type Transaction struct {
	From  common.Address
	To    *common.Address
	Nonce uint64
	Value *big.Int // wei
}

// Chain is what was read of a chain.
type Chain struct {
	ID      uint64
	Genesis common.Hash
	// Head is the newest block that was read.
	Head uint64
	// Events of the cluster's keys, in the chain's order.
	Events map[validator.PublicKey][]Event
	// Transactions of these events.
	Transactions map[common.Hash]Transaction
	// Nonces has how many transactions of an account are in blocks.
	Nonces map[common.Address]uint64
	// Unproven says why nobody can tell whether DepositEvents before the first
	// block that was read are missing; empty if none can be.
	Unproven string
}

// notes says what the account can not, or need not, explain.
func (c *Chain) notes(books *Books) (notes []string) {
	if c.Unproven != "" {
		notes = append(notes, c.Unproven)
	}
	keys, gwei := 0, uint64(0)
	for key, why := range books.retired() {
		if events := c.Events[key]; why == retiredForeign && len(events) > 0 {
			keys++
			for _, e := range events {
				gwei += e.AmountGwei
			}
		}
	}
	if keys > 0 {
		notes = append(notes, fmt.Sprintf("keys that are retired because somebody else paid for them: %d, %d gwei in all", keys, gwei))
	}
	return notes
}

// header is what is read of a block header.
type header struct {
	Number hexutil.Uint64 `json:"number"`
	Hash   common.Hash    `json:"hash"`
}

// endpoint asks one execution client.
type endpoint struct {
	rpc      *rpc.Client
	host     string // what may be told of the URL
	contract common.Address
	start    uint64
}

func dial(ctx context.Context, address string, contract common.Address, start uint64) (*endpoint, error) {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("%w: its address must be an http or https URL with a host", ErrChain)
	}
	c, err := rpc.DialOptions(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("%w at %s: %w", ErrChain, u.Host, withoutURL(err))
	}
	return &endpoint{rpc: c, host: u.Host, contract: contract, start: start}, nil
}

// call asks several things in one request, each of which must succeed.
func (e *endpoint) call(ctx context.Context, calls ...rpc.BatchElem) error {
	if err := e.rpc.BatchCallContext(ctx, calls); err != nil {
		return fmt.Errorf("%w at %s: %w", ErrChain, e.host, withoutURL(err))
	}
	for _, c := range calls {
		if c.Error != nil {
			return fmt.Errorf("%w at %s answers %s with: %w", ErrChain, e.host, c.Method, c.Error)
		}
	}
	return nil
}

func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	if h, ok := errors.AsType[rpc.HTTPError](err); ok {
		return fmt.Errorf("HTTP status %s", h.Status) // its body may repeat the URL
	}
	return err
}

func getBlock(number any, result **header) rpc.BatchElem {
	if n, ok := number.(uint64); ok {
		number = hexutil.Uint64(n)
	}
	return rpc.BatchElem{Method: "eth_getBlockByNumber", Args: []any{number, false}, Result: result}
}

// count asks how many deposits the contract had taken after a block.
func (e *endpoint) count(ctx context.Context, block uint64) (uint64, error) {
	var output hexutil.Bytes
	err := e.call(ctx, rpc.BatchElem{
		Method: "eth_call", Result: &output,
		Args: []any{map[string]any{"to": e.contract, "input": countInput}, hexutil.Uint64(block)},
	})
	if err != nil {
		return 0, err
	}
	// bytes of the ABI: where they begin, how many there are, and 8 in little endian.
	if len(output) != 96 || new(big.Int).SetBytes(output[32:64]).Cmp(big.NewInt(8)) != 0 {
		return 0, fmt.Errorf("%w at %s: there is no deposit contract at %s in block %d", ErrChain, e.host, e.contract, block)
	}
	return binary.LittleEndian.Uint64(output[64:72]), nil
}

// parseEvent reads a DepositEvent (EIP-6110's order of fields).
func parseEvent(log *types.Log) (Event, error) {
	if log == nil {
		return Event{}, errors.New("null in the place of a log")
	}
	raw, err := types.DepositLogToRequest(log.Data)
	if err != nil {
		return Event{}, fmt.Errorf("a log of transaction %s is no DepositEvent: %w", log.TxHash, err)
	}
	e := Event{BlockNumber: log.BlockNumber, BlockHash: log.BlockHash, TxHash: log.TxHash}
	copy(e.PublicKey[:], raw[0:48])
	copy(e.Credentials[:], raw[48:80])
	e.AmountGwei = binary.LittleEndian.Uint64(raw[80:88])
	copy(e.Signature[:], raw[88:184])
	e.Index = binary.LittleEndian.Uint64(raw[184:192])
	return e, nil
}
