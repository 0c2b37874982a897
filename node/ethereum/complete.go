package ethereum

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rpc"
)

// readAgainAfter is how long events may be missing before all are read anew: a
// client that still fills in old blocks has them later.
const readAgainAfter = 10 * time.Minute

var errNoCount = errors.New("the contract does not count deposits as the deposit contract does")

// counting asks the contract how many deposits it has taken.
type counting struct {
	output hexutil.Bytes
	err    error
}

// call asks for the state after a block.
func (c *counting) call(contract common.Address, number uint64) rpc.BatchElem {
	return rpc.BatchElem{
		Method: "eth_call", Result: &c.output,
		Args: []any{map[string]any{"to": contract, "input": hexutil.Bytes(countInput)}, hexutil.Uint64(number)},
	}
}

// count is 0 in a block in which the contract did not exist yet.
func (c *counting) count() (uint64, error) {
	if c.err != nil || len(c.output) == 0 {
		return 0, c.err
	}
	n, ok := depositCount(c.output)
	if !ok {
		return 0, fmt.Errorf("%w: it answers %s", errNoCount, c.output)
	}
	return n, nil
}

// follow adds the events of a range to the index and returns the index that the
// next one will have. The contract numbers its events without gaps, and counts
// them, so whatever the client left out shows.
func (p *pass) follow(r *blockRange) (next uint64, err error) {
	l, contract := p.duty.events, p.duty.cfg.Network.DepositContract
	slices.SortFunc(r.logs, func(a, b *types.Log) int {
		return cmp.Or(cmp.Compare(a.BlockNumber, b.BlockNumber), cmp.Compare(a.Index, b.Index))
	})
	next = l.last().next
	var gap *waiting
	for _, log := range r.logs {
		event, err := parseDepositEvent(log, contract)
		if err != nil {
			continue // its number will be missing
		}
		l.index.add(event.PublicKey, place{BlockNumber: log.BlockNumber, BlockHash: log.BlockHash, TxHash: log.TxHash})
		if event.Index != next && gap == nil {
			gap = p.missing(next, fmt.Sprintf("the one after it, in block %d, has index %d", log.BlockNumber, event.Index))
		}
		next++
	}
	if gap != nil {
		return 0, p.doubt(gap)
	}
	if r.count == nil {
		return next, nil
	}
	counted, err := r.count.count()
	if err != nil {
		return 0, waitFor(ChainUnreachable, "the execution client at %s does not tell how many deposits the contract counts in block %d: %v", p.duty.client.host, r.to, err)
	}
	if counted != next {
		return 0, p.doubt(p.missing(next, fmt.Sprintf("the contract counts %d deposits in block %d", counted, r.to)))
	}
	return next, nil
}

// missing says that the client did not tell of an event, and what can be done.
func (p *pass) missing(index uint64, but string) *waiting {
	l, host := p.duty.events, p.duty.client.host
	text := fmt.Sprintf("the execution client at %s shows no DepositEvent with index %d from block %d on, and %s; no deposit is made before all are known", host, index, l.start, but)
	switch {
	case len(l.read) == 0 && l.baseErr != nil:
		text += fmt.Sprintf(": it can not tell how many deposits there were before --deposit-start-block %d (%v); use one that keeps old states, or begin before the first deposit", l.start, l.baseErr)
	case l.start > 0:
		text += fmt.Sprintf(": use one that keeps all logs of the deposit contract, or an earlier --deposit-start-block than %d", l.start)
	default:
		text += ": use one that keeps all logs of the deposit contract; it may have pruned them"
	}
	return &waiting{code: EventsIncomplete, detail: text}
}

// doubt keeps that events are missing. The range that showed it is asked again in
// every pass, and now and then all are.
func (p *pass) doubt(w *waiting) *waiting {
	l, now := p.duty.events, p.duty.cfg.Now()
	switch {
	case l.trouble == nil:
		l.doubted = now
	case now.Sub(l.doubted) >= readAgainAfter:
		l.read, l.doubted = nil, now
	}
	l.trouble = w
	return w
}
