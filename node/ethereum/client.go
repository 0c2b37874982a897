package ethereum

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rpc"
)

const (
	// batchCalls is how many calls go into one HTTP request; clients and providers
	// limit it, go-ethereum to 1,000.
	batchCalls = 100
	// batchTimeout bounds one HTTP request.
	batchTimeout = 15 * time.Second
)

// client asks one execution client.
type client struct {
	rpc  *rpc.Client
	host string // what may be told of the URL: the rest can hold an access key
}

// dial does not connect yet: HTTP does with the first request.
func dial(ctx context.Context, address string) (*client, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, waitFor(ChainUnreachable, "the execution client's URL is malformed")
	}
	c, err := rpc.DialOptions(ctx, address, rpc.WithHTTPClient(&http.Client{Transport: boundedTransport{http.DefaultTransport, mostAnswer}}))
	if err != nil {
		return nil, waitFor(ChainUnreachable, "the execution client at %s: %v", u.Host, withoutURL(err))
	}
	return &client{rpc: c, host: u.Host}, nil
}

// batch makes the calls, each of which then has its result or error. The
// returned error means that some were not answered at all.
func (c *client) batch(ctx context.Context, calls []rpc.BatchElem) error {
	for chunk := range slices.Chunk(calls, batchCalls) {
		if err := c.request(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) request(ctx context.Context, calls []rpc.BatchElem) error {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	if err := c.rpc.BatchCallContext(ctx, calls); err != nil {
		return waitFor(ChainUnreachable, "the execution client at %s: %v", c.host, withoutURL(err))
	}
	for _, call := range calls {
		if errors.Is(call.Error, rpc.ErrMissingBatchResponse) {
			return waitFor(ChainUnreachable, "the execution client at %s does not answer %s", c.host, call.Method)
		}
	}
	return nil
}

// all is batch for calls of which every one must succeed.
func (c *client) all(ctx context.Context, calls ...rpc.BatchElem) error {
	if err := c.batch(ctx, calls); err != nil {
		return err
	}
	for _, call := range calls {
		if call.Error != nil {
			return waitFor(ChainUnreachable, "the execution client at %s answers %s with: %v", c.host, call.Method, call.Error)
		}
	}
	return nil
}

// withoutURL takes the URL out of an error of net/http.
func withoutURL(err error) error {
	if u := new(url.Error); errors.As(err, &u) {
		return u.Err
	}
	if h := (rpc.HTTPError{}); errors.As(err, &h) {
		return fmt.Errorf("HTTP status %s", h.Status)
	}
	return err
}

// block is what is read of a block header. The hash is taken from the answer:
// computing it would need every header field of every fork to come.
type block struct {
	Number  hexutil.Uint64 `json:"number"`
	Hash    common.Hash    `json:"hash"`
	BaseFee *hexutil.Big   `json:"baseFeePerGas"`
}

// receipt is what is read of a transaction's receipt.
type receipt struct {
	Status      hexutil.Uint64 `json:"status"`
	TxHash      common.Hash    `json:"transactionHash"`
	BlockNumber hexutil.Uint64 `json:"blockNumber"`
	BlockHash   common.Hash    `json:"blockHash"`
	Logs        logList        `json:"logs"`
}

// logList is logs as an execution client tells them. It refuses null among them,
// which the decoder alone would take for a log and everybody else for a crash.
type logList []*types.Log

var errNullLog = errors.New("null in the place of a log")

// UnmarshalJSON implements json.Unmarshaler.
func (l *logList) UnmarshalJSON(text []byte) error {
	var list []*types.Log
	if err := json.Unmarshal(text, &list); err != nil {
		return err //nolint:wrapcheck // of the standard library, for the standard library
	}
	if slices.Contains(list, nil) {
		return errNullLog
	}
	*l = list
	return nil
}

// A nil pointer behind result after the call means that there is no such block.
func getBlock(number any, result **block) rpc.BatchElem {
	if n, ok := number.(uint64); ok {
		number = hexutil.Uint64(n)
	}
	return rpc.BatchElem{Method: "eth_getBlockByNumber", Args: []any{number, false}, Result: result}
}

func getReceipt(tx common.Hash, result **receipt) rpc.BatchElem {
	return rpc.BatchElem{Method: "eth_getTransactionReceipt", Args: []any{tx}, Result: result}
}

func getNonce(account common.Address, at any, result *hexutil.Uint64) rpc.BatchElem {
	if n, ok := at.(uint64); ok {
		at = hexutil.Uint64(n)
	}
	return rpc.BatchElem{Method: "eth_getTransactionCount", Args: []any{account, at}, Result: result}
}
