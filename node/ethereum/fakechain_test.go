package ethereum

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// fakeChain is an execution client that holds nothing and makes up, whenever it is
// asked, a chain with perBlock DepositEvents in every block from block 1 on.
type fakeChain struct {
	mu       sync.Mutex
	head     uint64
	perBlock uint64
	genesis  byte
	fork     uint64 // blocks from this one on have other hashes and keys
	most     int    // events in an answer; the connection breaks on more, 0 means any number
	asked    []blockSpan
}

// blockSpan is a range of blocks of which the events were asked.
type blockSpan struct{ from, to uint64 }

func (f *fakeChain) hash(number uint64) common.Hash {
	text := fmt.Sprintf("block %d of %d", number, f.genesis)
	if f.fork > 0 && number >= f.fork {
		text += fmt.Sprintf(" forked at %d", f.fork)
	}
	return sha256.Sum256([]byte(text))
}

// count is how many deposits there are up to and including a block.
func (f *fakeChain) count(number uint64) uint64 { return number * f.perBlock }

// key is the public key of the deposit with this index.
func (f *fakeChain) key(index uint64) (key validator.PublicKey) {
	number := index/f.perBlock + 1
	text := fmt.Sprintf("key %d of %d", index, f.genesis)
	if f.fork > 0 && number >= f.fork {
		text += fmt.Sprintf(" forked at %d", f.fork)
	}
	digest := sha256.Sum256([]byte(text))
	copy(key[copy(key[:], digest[:]):], digest[:])
	return key
}

// eventData is the ABI encoding of DepositEvent(bytes,bytes,bytes,bytes,bytes).
func eventData(key validator.PublicKey, index uint64) []byte {
	data := make([]byte, 576)
	for i, offset := range []uint64{0xa0, 0x100, 0x140, 0x180, 0x200} {
		binary.BigEndian.PutUint64(data[32*i+24:], offset)
	}
	field := func(at int, value []byte) {
		binary.BigEndian.PutUint64(data[at+24:], uint64(len(value)))
		copy(data[at+32:], value)
	}
	field(0xa0, key[:])
	field(0x100, make([]byte, 32))
	field(0x140, binary.LittleEndian.AppendUint64(nil, validator.ActivationGwei))
	field(0x180, make([]byte, 96))
	field(0x200, binary.LittleEndian.AppendUint64(nil, index))
	return data
}

func (f *fakeChain) logs(span blockSpan) []*types.Log {
	logs := []*types.Log{}
	for number := max(1, span.from); number <= min(span.to, f.head); number++ {
		for i := range f.perBlock {
			index := f.count(number-1) + i
			logs = append(logs, &types.Log{
				Address: contractAddress, Topics: []common.Hash{depositTopic}, Data: eventData(f.key(index), index),
				BlockNumber: number, BlockHash: f.hash(number), TxHash: common.BigToHash(hexutil.MustDecodeBig(hexutil.EncodeUint64(index + 1))), Index: uint(i),
			})
		}
	}
	return logs
}

func quantityOf(param json.RawMessage) uint64 {
	n, err := strconv.ParseUint(strings.TrimPrefix(strings.Trim(string(param), `"`), "0x"), 16, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// answer returns the result of one call.
func (f *fakeChain) answer(call rpcCall) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch call.Method {
	case "eth_chainId":
		return hexutil.Uint64(simulatedChainID)
	case "eth_getBlockByNumber":
		number := f.head
		if tag := string(call.Params[0]); tag == `"finalized"` {
			return nil
		} else if tag != `"latest"` {
			number = quantityOf(call.Params[0])
		}
		if number > f.head {
			return nil
		}
		return map[string]any{"number": hexutil.Uint64(number), "hash": f.hash(number), "baseFeePerGas": hexutil.Uint64(7)}
	case "eth_getCode":
		return hexutil.Bytes{1}
	case "eth_syncing":
		return false
	case "eth_call":
		count := binary.LittleEndian.AppendUint64(nil, f.count(quantityOf(call.Params[1])))
		output, err := contractABI.Methods["get_deposit_count"].Outputs.Pack(count)
		if err != nil {
			panic(err)
		}
		return hexutil.Bytes(output)
	case "eth_getLogs":
		var filter struct{ FromBlock, ToBlock json.RawMessage }
		if err := json.Unmarshal(call.Params[0], &filter); err != nil {
			panic(err)
		}
		span := blockSpan{quantityOf(filter.FromBlock), quantityOf(filter.ToBlock)}
		f.asked = append(f.asked, span)
		logs := f.logs(span)
		if f.most > 0 && len(logs) > f.most {
			panic(http.ErrAbortHandler)
		}
		return logs
	}
	panic("the fake chain is asked " + call.Method)
}

// ServeHTTP answers JSON-RPC batches.
func (f *fakeChain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var calls []rpcCall
	if err := json.NewDecoder(r.Body).Decode(&calls); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answers := make([]map[string]any, len(calls))
	for i, call := range calls {
		answers[i] = map[string]any{"jsonrpc": "2.0", "id": call.ID, "result": f.answer(call)}
	}
	w.Header().Set("Content-Type", "application/json")
	body, err := json.Marshal(answers)
	if err != nil {
		panic(err)
	}
	_, _ = w.Write(body)
}

func (f *fakeChain) serve(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return server.URL
}

// spans returns the ranges that were asked since the last time.
func (f *fakeChain) spans() []blockSpan {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.asked
	f.asked = nil
	return asked
}

// set changes the chain.
func (f *fakeChain) set(change func(*fakeChain)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}
