package ethereum

import (
	"context"
	"errors"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// Bounds of reading DepositEvents.
const (
	mostBlocks   = 10_000 // asked for at once; halved when the client refuses
	passRequests = 50     // made in one pass: more would keep deposits in flight waiting
	checkpoints  = 256    // blocks remembered to find where a reorganisation began
)

// place is where a DepositEvent was seen.
type place struct {
	BlockNumber uint64
	BlockHash   common.Hash
	TxHash      common.Hash
}

// eventIndex holds where DepositEvents were seen, by public key. What was seen
// stays, also when its block was reorganised away: the safe direction is to
// take a key for paid.
type eventIndex interface {
	add(key validator.PublicKey, at place)
	seen(key validator.PublicKey) []place
	size() int
}

// memoryIndex is an eventIndex that is read from the chain anew in each process.
type memoryIndex map[validator.PublicKey][]place

func newMemoryIndex() memoryIndex { return make(memoryIndex) }

func (x memoryIndex) add(key validator.PublicKey, at place) {
	if !slices.Contains(x[key], at) {
		x[key] = append(x[key], at)
	}
}

func (x memoryIndex) seen(key validator.PublicKey) []place { return x[key] }

func (x memoryIndex) size() int { return len(x) }

// checkpoint is a block up to which everything was read.
type checkpoint struct {
	number uint64
	hash   common.Hash
}

// eventLog reads the chain's DepositEvents into an index.
type eventLog struct {
	index eventIndex
	start uint64       // first block that is read
	read  []checkpoint // ascending; the last is how far reading has come
	step  uint64       // blocks asked for at once
}

func newEventLog(start uint64, index eventIndex) *eventLog {
	return &eventLog{index: index, start: start, step: mostBlocks}
}

// next is the first block that was not read.
func (l *eventLog) next() uint64 {
	if len(l.read) == 0 {
		return l.start
	}
	return l.read[len(l.read)-1].number + 1
}

// covers reports whether all was read up to and including this block.
func (l *eventLog) covers(number uint64) bool { return l.next() > number }

// at reports whether reading has come to exactly this block.
func (l *eventLog) at(b *block) bool {
	return b != nil && len(l.read) > 0 && l.read[len(l.read)-1] == checkpoint{uint64(b.Number), b.Hash}
}

// readEvents reads on until the head that this pass saw, or as far as a pass may.
func (p *pass) readEvents(ctx context.Context) error {
	l, c := p.duty.events, p.duty.client
	if err := l.rewind(ctx, c); err != nil {
		return err
	}
	head := uint64(p.world.head.Number)
	for range passRequests {
		if l.covers(head) {
			return nil
		}
		if err := l.advance(ctx, c, head, p.duty.cfg.Network.DepositContract); err != nil {
			return err
		}
	}
	return nil
}

// rewind forgets the checkpoints that a reorganisation took away, so that the
// blocks after them are read again.
func (l *eventLog) rewind(ctx context.Context, c *client) error {
	for len(l.read) > 0 {
		last := l.read[len(l.read)-1]
		var now *block
		if err := c.all(ctx, getBlock(last.number, &now)); err != nil {
			return err
		}
		if now != nil && now.Hash == last.hash {
			return nil
		}
		l.read = l.read[:len(l.read)-1]
	}
	return nil
}

// advance reads one range of blocks. The last block's header is asked before and
// after in the same request, so that a client that lags behind, or changes its
// mind meanwhile, is noticed.
func (l *eventLog) advance(ctx context.Context, c *client, head uint64, contract common.Address) error {
	from := l.next()
	to := min(head, from+l.step-1)
	var before, after *block
	var logs []*types.Log
	filter := map[string]any{
		"fromBlock": hexutil.Uint64(from), "toBlock": hexutil.Uint64(to),
		"address": contract, "topics": []common.Hash{depositTopic},
	}
	calls := []rpc.BatchElem{
		getBlock(to, &before),
		{Method: "eth_getLogs", Args: []any{filter}, Result: &logs},
		getBlock(to, &after),
	}
	if err := c.batch(ctx, calls); err != nil {
		return err
	}
	if err := errors.Join(calls[0].Error, calls[1].Error, calls[2].Error); err != nil {
		if l.step > 1 {
			l.step /= 2 // most clients limit blocks or results
			return nil
		}
		return waitFor(ChainUnreachable, "the execution client at %s does not tell the events of block %d: %v", c.host, from, err)
	}
	if before == nil || after == nil || before.Hash != after.Hash {
		return waitFor(IndexingEvents, "block %d changed while its events were read", to)
	}
	for _, log := range logs {
		if data, err := parseDepositEvent(log, contract); err == nil {
			l.index.add(data.PublicKey, place{BlockNumber: log.BlockNumber, BlockHash: log.BlockHash, TxHash: log.TxHash})
		}
	}
	l.read = append(l.read, checkpoint{to, before.Hash})
	if extra := len(l.read) - checkpoints; extra > 0 {
		l.read = slices.Delete(l.read, 0, extra)
	}
	l.step = min(2*l.step, mostBlocks)
	return nil
}
