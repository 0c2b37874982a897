package ethereum

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rpc"
)

// codeAgain is how long the contract's code is taken for what it was: it can not
// change, but a client can be pointed at another chain behind its address.
const codeAgain = 10 * time.Minute

// facts are what clients of one chain agree on.
type facts struct {
	chainID string
	genesis common.Hash
	code    common.Hash // keccak256 of the deposit contract's code; zero while it is not known
	read    time.Time   // when the code was
}

// ask puts the questions to a client that tell whether it is of use now, and
// returns why it is not.
func (e *endpoint) ask(ctx context.Context, contract [20]byte, now time.Time) (trouble string) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var chainID hexutil.Big
	var genesis, head *block
	var code hexutil.Bytes
	var syncing json.RawMessage
	calls := []rpc.BatchElem{
		{Method: "eth_chainId", Result: &chainID},
		getBlock(uint64(0), &genesis),
		getBlock("latest", &head),
	}
	stale := e.facts == nil || now.Sub(e.facts.read) >= codeAgain || e.trouble != ""
	if stale {
		calls = append(calls, rpc.BatchElem{Method: "eth_getCode", Args: []any{common.Address(contract), "latest"}, Result: &code})
	}
	calls = append(calls, rpc.BatchElem{Method: "eth_syncing", Result: &syncing})
	if err := e.client.batch(ctx, calls); err != nil {
		return detailOf(err)
	}
	for _, call := range calls[:len(calls)-1] {
		if call.Error != nil {
			return fmt.Sprintf("it answers %s with: %v", call.Method, call.Error)
		}
	}
	if genesis == nil || head == nil {
		return "it has no blocks"
	}
	f := facts{chainID: chainID.ToInt().String(), genesis: genesis.Hash}
	e.answers, e.head, e.trouble, e.pause = true, uint64(head.Number), behind(syncing), 0
	switch {
	case e.trouble != "": // it may not have come to the contract yet
	case stale:
		f.code, f.read = crypto.Keccak256Hash(code), now
	default:
		f.code, f.read = e.facts.code, e.facts.read
	}
	e.facts = &f
	return ""
}

// behind reads the answer of eth_syncing: false, or how far the client is. One
// that has its blocks and only indexes them still is not behind.
func behind(answer json.RawMessage) string {
	var progress struct {
		Current hexutil.Uint64 `json:"currentBlock"`
		Highest hexutil.Uint64 `json:"highestBlock"`
	}
	if json.Unmarshal(answer, &progress) != nil || progress.Highest <= progress.Current+mostLag {
		return ""
	}
	return fmt.Sprintf("it is still syncing, at block %d of %d", uint64(progress.Current), uint64(progress.Highest))
}

// detailOf is the words of a reason to wait, else of the error.
func detailOf(err error) string {
	if w := (*waiting)(nil); errors.As(err, &w) {
		return w.detail
	}
	return err.Error()
}
