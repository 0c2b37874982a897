package clienttest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// What the fake cluster's deposits are for.
const (
	ChainID     = 1337
	Contract    = "0x00000000219ab540356cBB839Cbe05303d7705Fa"
	ForkVersion = "0x10000038"
)

// Payment is a deposit that stands on a fake chain.
type Payment struct {
	validator.DepositData

	Block uint64
	Tx    common.Hash
	From  common.Address
	Nonce uint64
}

// Chain is an execution client with a deposit contract, as far as reading goes.
// Its fields are changed under Lock.
type Chain struct {
	sync.Mutex

	ID       uint64
	Head     uint64
	Final    uint64
	Payments []Payment // in the order of blocks
	Nonces   map[common.Address]uint64
	// Hidden is how many of the first payments no log is shown of.
	Hidden int
	// MostBlocks refuses to search more at once; 0 means any number.
	MostBlocks uint64
	// Pruned refuses the state of blocks before this one.
	Pruned uint64
	// Asked counts the requests by method.
	Asked map[string]int

	url string
}

// StartChain serves a chain until the test ends.
func StartChain(tb testing.TB) *Chain {
	tb.Helper()
	c := &Chain{ID: ChainID, Head: 100, Nonces: make(map[common.Address]uint64), Asked: make(map[string]int)}
	server := httptest.NewServer(http.HandlerFunc(c.serve))
	tb.Cleanup(server.Close)
	c.url = server.URL
	return c
}

// URL is where the chain answers.
func (c *Chain) URL() string { return c.url }

// Pay puts a cluster's deposits on the chain, the way that the cluster recorded them.
func (c *Chain) Pay(cluster *Cluster) {
	c.Lock()
	defer c.Unlock()
	for i, key := range cluster.derived() {
		d := cluster.depositOf(key)
		from := common.HexToAddress(d.Account)
		c.Payments = append(c.Payments, Payment{
			DepositData: cluster.depositData(uint64(i)), Block: uint64(d.BlockNumber), //nolint:gosec // small numbers
			Tx: common.HexToHash(d.TxHash), From: from, Nonce: uint64(d.Nonce), //nolint:gosec // as above
		})
		c.Nonces[from]++
	}
}

// BlockHash is the hash of the block with a number.
func BlockHash(number uint64) common.Hash {
	return sha256.Sum256(binary.BigEndian.AppendUint64([]byte("block"), number))
}

type rpcCall struct {
	ID     json.RawMessage   `json:"id"`
	Method string            `json:"method"`
	Params []json.RawMessage `json:"params"`
}

func (c *Chain) serve(w http.ResponseWriter, r *http.Request) {
	c.Lock()
	defer c.Unlock()
	var calls []rpcCall
	if err := json.NewDecoder(r.Body).Decode(&calls); err != nil {
		http.Error(w, "want a batch", http.StatusBadRequest)
		return
	}
	answers := make([]map[string]any, len(calls))
	for i, call := range calls {
		c.Asked[call.Method]++
		answers[i] = map[string]any{"jsonrpc": "2.0", "id": call.ID}
		if result, err := c.answer(call); err != nil {
			answers[i]["error"] = map[string]any{"code": -32000, "message": err.Error()}
		} else {
			answers[i]["result"] = result
		}
	}
	Answer(w, answers)
}

func (c *Chain) answer(call rpcCall) (any, error) {
	switch call.Method {
	case "eth_chainId":
		return hexutil.Uint64(c.ID), nil
	case "eth_getBlockByNumber":
		n := c.number(call.Params[0])
		return map[string]any{"number": hexutil.Uint64(n), "hash": BlockHash(n)}, nil
	case "eth_call":
		return c.count(c.number(call.Params[1]))
	case "eth_getLogs":
		return c.logs(call.Params[0])
	case "eth_getTransactionByHash":
		return c.transaction(call.Params[0]), nil
	case "eth_getTransactionCount":
		var account common.Address
		err := json.Unmarshal(call.Params[0], &account)
		return hexutil.Uint64(c.Nonces[account]), err
	}
	return nil, fmt.Errorf("no method %s", call.Method)
}

func (c *Chain) number(raw json.RawMessage) uint64 {
	switch text := strings.Trim(string(raw), `"`); text {
	case "latest":
		return c.Head
	case "finalized":
		return c.Final
	default:
		n, err := strconv.ParseUint(text, 0, 64)
		if err != nil {
			panic(err)
		}
		return n
	}
}

func (c *Chain) count(block uint64) (any, error) {
	if block < c.Pruned {
		return nil, errors.New("missing trie node")
	}
	n := uint64(0)
	for _, p := range c.Payments {
		if p.Block <= block {
			n++
		}
	}
	return hexutil.Bytes(pack(binary.LittleEndian.AppendUint64(nil, n))), nil
}

func (c *Chain) logs(raw json.RawMessage) (any, error) {
	var filter struct{ FromBlock, ToBlock hexutil.Uint64 }
	if err := json.Unmarshal(raw, &filter); err != nil {
		return nil, err //nolint:wrapcheck // a test's own
	}
	from, to := uint64(filter.FromBlock), uint64(filter.ToBlock)
	if c.MostBlocks > 0 && to-from >= c.MostBlocks {
		return nil, fmt.Errorf("query exceeds %d blocks", c.MostBlocks)
	}
	logs := []any{}
	for i, p := range c.Payments {
		if p.Block < from || p.Block > to || i < c.Hidden {
			continue
		}
		number := binary.LittleEndian.AppendUint64(nil, uint64(i))
		amount := binary.LittleEndian.AppendUint64(nil, p.AmountGwei)
		logs = append(logs, map[string]any{
			"address": Contract, "topics": []string{"0x649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5"},
			"data":        hexutil.Bytes(pack(p.PublicKey[:], p.Credentials[:], amount, p.Signature[:], number)),
			"blockNumber": hexutil.Uint64(p.Block), "blockHash": BlockHash(p.Block), "transactionHash": p.Tx,
			"transactionIndex": "0x0", "logIndex": hexutil.Uint64(i), "removed": false,
		})
	}
	return logs, nil
}

func (c *Chain) transaction(raw json.RawMessage) any {
	for _, p := range c.Payments {
		if strings.Trim(string(raw), `"`) == p.Tx.Hex() {
			wei := new(big.Int).Mul(new(big.Int).SetUint64(p.AmountGwei), big.NewInt(1e9))
			return map[string]any{"from": p.From, "to": Contract, "nonce": hexutil.Uint64(p.Nonce), "value": (*hexutil.Big)(wei)}
		}
	}
	return nil
}

// pack encodes values of the ABI's type bytes.
func pack(values ...[]byte) []byte {
	kind, err := abi.NewType("bytes", "", nil)
	if err != nil {
		panic(err)
	}
	var arguments abi.Arguments
	var list []any
	for _, v := range values {
		arguments = append(arguments, abi.Argument{Type: kind})
		list = append(list, v)
	}
	data, err := arguments.Pack(list...)
	if err != nil {
		panic(err)
	}
	return data
}

// account is the one that pays for a cluster's keys.
var account = common.HexToAddress("0xA3F44F18aEf570D8270a92c6aC6352973201486e")

// depositData is the signed deposit of the key with an index.
func (c *Cluster) depositData(index uint64) validator.DepositData {
	data, err := validator.NewDepositData(c.Key(index), validator.AddressCredentials(account), validator.ActivationGwei, [4]byte{0x10, 0, 0, 0x38})
	if err != nil {
		panic(err)
	}
	return data
}

// depositOf is the deposit of one of the cluster's keys: index and nonce are the same.
func (c *Cluster) depositOf(key wire.Key) wire.Deposit {
	data := c.depositData(uint64(key.Index)) //nolint:gosec // not negative
	tx := common.Hash(sha256.Sum256([]byte(key.Pubkey)))
	d := wire.Deposit{
		Pubkey: key.Pubkey, State: wire.DepositStateFinal, AmountGwei: int64(data.AmountGwei), //nolint:gosec // 32 ETH
		WithdrawalCredentials: data.Credentials.String(), Signature: hexutil.Encode(data.Signature[:]),
		ChainID: ChainID, Account: account.Hex(), Nonce: key.Index, TxHash: tx.Hex(),
		BlockNumber: 10 + key.Index, BlockHash: BlockHash(uint64(10 + key.Index)).Hex(), //nolint:gosec // not negative
		Attempts: []wire.Attempt{{Nonce: key.Index, TxHash: tx.Hex(), FeeCapWei: 2, TipWei: 1}},
	}
	if c.ChangeDeposit != nil {
		c.ChangeDeposit(&d)
	}
	return d
}

// accounts lists the one account, whose nonces the derived keys have used.
func (c *Cluster) accounts() []wire.FundingAccount {
	c.mu.Lock()
	defer c.mu.Unlock()
	return []wire.FundingAccount{{
		ChainID: ChainID, GenesisHash: BlockHash(0).Hex(), Address: account.Hex(), NextNonce: int64(c.next), //nolint:gosec // small
	}}
}
