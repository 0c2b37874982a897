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

// readAgainAfter is how long events may be missing before those that the contract
// has not counted are read anew: a client that still fills in old blocks has them
// later.
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

// follow reads the events of a range and returns the index that the next one will
// have. The contract numbers its events without gaps, and counts them, so whatever
// the client left out shows.
func (x *Indexer) follow(host string, q *eventQuery) (events []seenEvent, next uint64, gap *waiting) {
	slices.SortFunc(q.logs, func(a, b *types.Log) int {
		return cmp.Or(cmp.Compare(a.BlockNumber, b.BlockNumber), cmp.Compare(a.Index, b.Index))
	})
	next = x.last().next
	for _, log := range q.logs {
		event, err := parseDepositEvent(log, x.cfg.Network.DepositContract)
		if err != nil {
			continue // its number will be missing
		}
		events = append(events, seenEvent{
			place: place{BlockNumber: log.BlockNumber, BlockHash: log.BlockHash, TxHash: log.TxHash},
			key:   event.PublicKey, credentials: event.Credentials, amountGwei: event.AmountGwei,
		})
		if event.Index != next && gap == nil {
			gap = x.missing(host, next, fmt.Sprintf("the one after it, in block %d, has index %d", log.BlockNumber, event.Index))
		}
		next++
	}
	return events, next, gap
}

// compare holds the number of events against the contract's own count.
func (x *Indexer) compare(host string, q *eventQuery, next uint64) (gap *waiting, err error) {
	counted, err := q.count.count()
	if err != nil {
		return nil, waitFor(ChainUnreachable, "the execution client at %s does not tell how many deposits the contract counts in block %d: %v", host, q.to, err)
	}
	if counted != next {
		return x.missing(host, next, fmt.Sprintf("the contract counts %d deposits in block %d", counted, q.to)), nil
	}
	return nil, nil //nolint:nilnil // no gap
}

// missing says that the client did not tell of an event, and what can be done.
func (x *Indexer) missing(host string, index uint64, but string) *waiting {
	start := x.cfg.StartBlock
	text := fmt.Sprintf("the execution client at %s shows no DepositEvent with index %d from block %d on, and %s; no deposit is made before all are known", host, index, start, but)
	switch {
	case len(x.read) == 0 && x.baseErr != nil:
		text += fmt.Sprintf(": it can not tell how many deposits there were before --deposit-start-block %d (%v); use one that keeps old states, or begin before the first deposit", start, x.baseErr)
	case start > 0:
		text += fmt.Sprintf(": use one that keeps all logs of the deposit contract, or an earlier --deposit-start-block than %d", start)
	default:
		text += ": use one that keeps all logs of the deposit contract; it may have pruned them"
	}
	return &waiting{code: EventsIncomplete, detail: text}
}

// doubt is doubtLocked for an answer that nobody else has overtaken.
func (x *Indexer) doubt(q *eventQuery, w *waiting) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.version != q.version {
		return nil
	}
	return x.doubtLocked(w)
}

// doubtLocked keeps that events are missing. The range that showed it is asked again in
// every pass, and now and then all that the contract has not counted yet.
func (x *Indexer) doubtLocked(w *waiting) error {
	now := x.cfg.Now()
	switch {
	case x.trouble == nil:
		x.doubted = now
	case now.Sub(x.doubted) >= readAgainAfter:
		x.doubted = now
		counted := 0 // checkpoints up to which nothing is missing
		for i, c := range x.read {
			if c.counted {
				counted = i + 1
			}
		}
		if err := x.forget(counted); err != nil {
			return x.failed(err)
		}
	}
	x.trouble = w
	return w
}
