package ethereum

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rpc"
)

// Bounds of reading DepositEvents.
const (
	mostBlocks   = 10_000 // asked for at once; halved when the client refuses
	passRequests = 50     // made in one pass: more would keep deposits in flight waiting
	checkpoints  = 256    // blocks remembered to find where a reorganisation began
)

// checkpoint is a block up to which everything was read.
type checkpoint struct {
	number uint64
	hash   common.Hash
	// next is the index that the contract gives to the next DepositEvent, by the
	// events that were read.
	next uint64
	// counted says that the contract itself counts so many in this block: nothing
	// up to it is missing.
	counted bool
}

// eventLog reads the chain's DepositEvents into an index.
type eventLog struct {
	index   eventIndex
	start   uint64       // first block that is read
	base    uint64       // index of the first event from there on
	baseErr error        // why base is not known and taken for 0
	read    []checkpoint // ascending; the last is how far reading has come
	step    uint64       // blocks asked for at once
	// trouble says that events are missing, until they are complete again.
	trouble *waiting
	doubted time.Time // since when, or since all was read anew
}

func newEventLog(start uint64, index eventIndex) *eventLog {
	return &eventLog{index: index, start: start, step: mostBlocks}
}

// last returns the checkpoint that reading has come to.
func (l *eventLog) last() checkpoint {
	if len(l.read) == 0 {
		return checkpoint{next: l.base}
	}
	return l.read[len(l.read)-1]
}

// next is the first block that was not read.
func (l *eventLog) next() uint64 {
	if len(l.read) == 0 {
		return l.start
	}
	return l.last().number + 1
}

// covers reports whether all was read up to and including this block.
func (l *eventLog) covers(number uint64) bool { return l.next() > number }

// at reports whether reading has come to exactly this block, and nothing is missing.
func (l *eventLog) at(b *block) bool {
	last := l.last()
	return b != nil && last.counted && last.number == uint64(b.Number) && last.hash == b.Hash
}

// completeTo reports whether nothing up to this block is missing. It counts only
// after a rewind.
func (l *eventLog) completeTo(number uint64) bool {
	return slices.ContainsFunc(l.read, func(c checkpoint) bool { return c.counted && c.number >= number })
}

// readEvents reads on until the head that this pass saw, or as far as a pass may.
func (p *pass) readEvents(ctx context.Context) error {
	l := p.duty.events
	if err := l.rewind(ctx, p.duty.client); err != nil {
		return err
	}
	head := uint64(p.world.head.Number)
	for range passRequests {
		if l.covers(head) {
			return nil
		}
		if err := p.readOn(ctx, head); err != nil {
			return err
		}
	}
	return nil
}

// rewind forgets the checkpoints that a reorganisation took away, so that the
// blocks after them are read again.
func (l *eventLog) rewind(ctx context.Context, c *client) error {
	for len(l.read) > 0 {
		last := l.last()
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

// blockRange is the answer to one question for events.
type blockRange struct {
	from, to      uint64
	before, after *block
	logs          []*types.Log
	count         *counting // the contract's own, in the block to; nil if it was not asked
	base          *counting // the same before the first block
}

// ask reads one range of blocks. The last block's header is asked before and
// after in the same request, so that a client that lags behind, or changes its
// mind meanwhile, is noticed. The result is nil if the client wants fewer blocks.
func (p *pass) ask(ctx context.Context, head uint64) (*blockRange, error) {
	l, c, contract := p.duty.events, p.duty.client, common.Address(p.duty.cfg.Network.DepositContract)
	r := &blockRange{from: l.next()}
	r.to = min(head, r.from+l.step-1)
	filter := map[string]any{
		"fromBlock": hexutil.Uint64(r.from), "toBlock": hexutil.Uint64(r.to),
		"address": contract, "topics": []common.Hash{depositTopic},
	}
	calls := []rpc.BatchElem{
		getBlock(r.to, &r.before),
		{Method: "eth_getLogs", Args: []any{filter}, Result: &r.logs},
	}
	if r.to == head {
		r.count = &counting{}
		calls = append(calls, r.count.call(contract, r.to))
	}
	if len(l.read) == 0 && l.start > 0 {
		r.base = &counting{}
		calls = append(calls, r.base.call(contract, l.start-1))
	}
	calls = append(calls, getBlock(r.to, &r.after))
	if err := c.batch(ctx, calls); err != nil {
		return nil, err
	}
	for i, call := range calls {
		for _, asked := range []*counting{r.count, r.base} {
			if asked != nil && call.Result == &asked.output {
				asked.err, calls[i].Error = call.Error, nil
			}
		}
	}
	if err := errors.Join(calls[0].Error, calls[1].Error, calls[len(calls)-1].Error); err != nil {
		if l.step > 1 {
			l.step /= 2     // most clients limit blocks or results
			return nil, nil //nolint:nilnil // documented above
		}
		return nil, p.doubt(waitFor(EventsIncomplete, "the execution client at %s does not tell the DepositEvents of block %d: %v; use one that keeps all logs of the deposit contract",
			c.host, r.from, err))
	}
	return r, nil
}

// readOn reads one range of blocks and notes how far it has come, if nothing is
// missing in it.
func (p *pass) readOn(ctx context.Context, head uint64) error {
	l := p.duty.events
	r, err := p.ask(ctx, head)
	if err != nil || r == nil {
		return err
	}
	if r.before == nil || r.after == nil || r.before.Hash != r.after.Hash {
		return waitFor(IndexingEvents, "block %d changed while its events were read", r.to)
	}
	if r.base != nil {
		l.base, l.baseErr = r.base.count()
	}
	next, err := p.follow(r)
	if err != nil {
		return err
	}
	l.read = append(l.read, checkpoint{number: r.to, hash: r.before.Hash, next: next, counted: r.count != nil})
	if r.count != nil {
		l.trouble, l.doubted = nil, time.Time{}
	}
	if extra := len(l.read) - checkpoints; extra > 0 {
		l.read = slices.Delete(l.read, 0, extra)
	}
	l.step = min(2*l.step, mostBlocks)
	return nil
}
