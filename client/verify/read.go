package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// Bounds of one request.
const (
	mostBlocks = 10_000 // halved while the client refuses
	batchCalls = 100
)

var errHides = errors.New("hides DepositEvents")

// span is what was read of the blocks from the first one on. Only events of the
// cluster's keys are kept, however many there are.
type span struct {
	from   uint64 // the first block that was not read
	next   uint64 // number that the contract gives to the next deposit
	events map[validator.PublicKey][]Event
}

// reader reads a chain again and again. What is final is read once.
type reader struct {
	*endpoint

	keys     map[validator.PublicKey]bool
	accounts []common.Address
	progress func(done, total uint64) // blocks
	final    *span                    // nil before the first reading
	unproven string
}

// read reads everything up to the head.
func (r *reader) read(ctx context.Context) (*Chain, error) {
	c, final, err := r.identify(ctx)
	if err != nil {
		return nil, err
	}
	if r.final == nil {
		if r.final, err = r.begin(ctx); err != nil {
			return nil, err
		}
	}
	if err := r.extend(ctx, r.final, final, c.Head); err != nil {
		return nil, err
	}
	tip := &span{from: r.final.from, next: r.final.next, events: make(map[validator.PublicKey][]Event, len(r.final.events))}
	for key, events := range r.final.events {
		tip.events[key] = slices.Clone(events)
	}
	if err := r.extend(ctx, tip, c.Head, c.Head); err != nil {
		return nil, err
	}
	counted, err := r.count(ctx, c.Head)
	if err != nil {
		return nil, err
	}
	if counted != tip.next {
		return nil, fmt.Errorf("%w at %s %w: the contract counts %d deposits in block %d, the events end with %d", ErrChain, r.host, errHides, counted, c.Head, tip.next)
	}
	c.Events, c.Unproven = tip.events, r.unproven
	return c, r.details(ctx, c)
}

// identify reads which chain this is, and its newest final block, 0 without one.
func (r *reader) identify(ctx context.Context) (c *Chain, final uint64, err error) {
	var id hexutil.Uint64
	var genesis, head, finalized *header
	err = r.call(ctx, rpc.BatchElem{Method: "eth_chainId", Result: &id}, getBlock(uint64(0), &genesis), getBlock("latest", &head))
	if err != nil {
		return nil, 0, err
	}
	if genesis == nil || head == nil {
		return nil, 0, fmt.Errorf("%w at %s has no blocks", ErrChain, r.host)
	}
	if err := r.call(ctx, getBlock("finalized", &finalized)); err == nil && finalized != nil {
		final = uint64(finalized.Number)
	}
	return &Chain{
		ID: uint64(id), Genesis: genesis.Hash, Head: uint64(head.Number),
		Transactions: make(map[common.Hash]Transaction), Nonces: make(map[common.Address]uint64),
	}, final, nil
}

// begin finds how many deposits there were before the first block.
func (r *reader) begin(ctx context.Context) (*span, error) {
	s := &span{from: r.start, events: make(map[validator.PublicKey][]Event)}
	if r.start == 0 {
		return s, nil
	}
	n, err := r.count(ctx, r.start-1)
	if refused := rpc.Error(nil); errors.As(err, &refused) {
		r.unproven = fmt.Sprintf("the execution client does not tell how many deposits there were before block %d: %v", r.start, refused)
		return s, nil
	}
	s.next = n
	return s, err
}

// extend reads on up to and including a block.
func (r *reader) extend(ctx context.Context, s *span, to, head uint64) error {
	for step := uint64(mostBlocks); s.from <= to; {
		last := min(to, s.from+step-1)
		logs, err := r.logs(ctx, s.from, last)
		if refused := rpc.Error(nil); errors.As(err, &refused) && last > s.from {
			step = (last - s.from + 1) / 2 // it wants fewer blocks
			continue
		}
		if err != nil {
			return err
		}
		if err := r.add(s, logs); err != nil {
			return err
		}
		s.from = last + 1
		if r.progress != nil {
			r.progress(s.from-r.start, head+1-r.start)
		}
	}
	return nil
}

// add takes events over, and makes sure that the contract's numbers have no gap.
func (r *reader) add(s *span, logs []*types.Log) error {
	for _, log := range logs {
		event, err := parseEvent(log)
		if err != nil {
			return fmt.Errorf("%w at %s: %w", ErrChain, r.host, err)
		}
		if s.next == 0 && r.unproven != "" {
			s.next = event.Index // the first one can only be believed
		}
		if event.Index != s.next {
			return fmt.Errorf("%w at %s %w: after number %d, block %d has number %d", ErrChain, r.host, errHides, int64(s.next)-1, log.BlockNumber, event.Index) //nolint:gosec // -1 before the first
		}
		s.next++
		if r.keys[event.PublicKey] {
			s.events[event.PublicKey] = append(s.events[event.PublicKey], event)
		}
	}
	return nil
}

func (r *reader) logs(ctx context.Context, from, to uint64) ([]*types.Log, error) {
	var logs []*types.Log
	err := r.call(ctx, rpc.BatchElem{Method: "eth_getLogs", Result: &logs, Args: []any{map[string]any{
		"fromBlock": hexutil.Uint64(from), "toBlock": hexutil.Uint64(to),
		"address": r.contract, "topics": []common.Hash{depositTopic},
	}}})
	if err != nil {
		return nil, fmt.Errorf("DepositEvents of the blocks %d to %d: %w", from, to, err)
	}
	slices.SortFunc(logs, func(a, b *types.Log) int {
		return cmp.Or(cmp.Compare(a.BlockNumber, b.BlockNumber), cmp.Compare(a.Index, b.Index))
	})
	return logs, nil
}

// details reads the transactions behind the events, and the accounts' nonces.
func (r *reader) details(ctx context.Context, c *Chain) error {
	for _, events := range c.Events {
		for _, event := range events {
			c.Transactions[event.TxHash] = Transaction{}
		}
	}
	for some := range slices.Chunk(slices.Collect(maps.Keys(c.Transactions)), batchCalls) {
		found := make([]*transaction, len(some))
		calls := make([]rpc.BatchElem, len(some))
		for i, hash := range some {
			calls[i] = rpc.BatchElem{Method: "eth_getTransactionByHash", Args: []any{hash}, Result: &found[i]}
		}
		if err := r.call(ctx, calls...); err != nil {
			return err
		}
		for i, tx := range found {
			if tx == nil {
				return fmt.Errorf("%w at %s does not know transaction %s, whose DepositEvent it shows", ErrChain, r.host, some[i])
			}
			c.Transactions[some[i]] = Transaction{From: tx.From, To: tx.To, Nonce: uint64(tx.Nonce), Value: tx.Value.ToInt()}
		}
	}
	for _, account := range r.accounts {
		var n hexutil.Uint64
		if err := r.call(ctx, rpc.BatchElem{Method: "eth_getTransactionCount", Args: []any{account, hexutil.Uint64(c.Head)}, Result: &n}); err != nil {
			return err
		}
		c.Nonces[account] = uint64(n)
	}
	return nil
}

// transaction is what is read of one; its hash is the client's word.
type transaction struct {
	From  common.Address  `json:"from"`
	To    *common.Address `json:"to"`
	Nonce hexutil.Uint64  `json:"nonce"`
	Value *hexutil.Big    `json:"value"`
}
