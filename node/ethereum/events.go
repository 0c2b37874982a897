package ethereum

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"
)

// Bounds of reading DepositEvents.
const (
	firstBlocks = 1_000  // asked for at first
	mostBlocks  = 10_000 // asked for at once; halved when the client refuses
	// A range that held more events than manyEvents is followed by one of half as
	// many blocks, one with fewer than fewEvents by one of twice as many.
	manyEvents, fewEvents = 2_000, 500
	passRequests          = 50  // made in one pass: more would keep deposits in flight waiting
	recentCheckpoints     = 128 // blocks remembered to find where a reorganisation began
)

// extent is what was seen of a chain at one moment.
type extent struct {
	genesis, head *block
	final         uint64 // the newest final block, if there is one
	hasFinal      bool
}

// extent returns what the pass saw.
func (w world) extent() extent {
	return extent{genesis: w.genesis, head: w.head, final: w.final, hasFinal: w.hasFinal}
}

// readEvents reads on until the head that this pass saw, or as far as a pass may.
func (p *pass) readEvents(ctx context.Context) (err error) {
	p.indexed, err = p.duty.events.readTo(ctx, p.duty.client, p.world.extent(), p.history, passRequests)
	return err
}

// readTo reads on until the head, or as far as so many requests reach. It reports
// whether everything up to this very block is in the index, and nothing is missing:
// the index may hold more by then, if others read on meanwhile.
func (x *Indexer) readTo(ctx context.Context, c *client, e extent, h history, requests int) (complete bool, err error) {
	defer func() { x.noted(e, err) }()
	id := chainIdentity{chainID: x.cfg.Network.ChainID, genesis: e.genesis.Hash, contract: x.cfg.Network.DepositContract}
	if err := x.begin(id); err != nil {
		return false, err
	}
	final, err := x.rewind(ctx, c, e, h)
	if err != nil {
		return false, err
	}
	for n := 0; ; n++ {
		q := x.plan(uint64(e.head.Number), final)
		if q == nil {
			return x.holds(ctx, c, e.head)
		}
		if n == requests {
			return false, nil
		}
		if err := x.ask(ctx, c, q); err != nil {
			return false, err
		}
		if !q.refused {
			if err := x.take(c.host, q); err != nil {
				return false, err
			}
		}
	}
}

// holds reports whether the block is one up to which nothing is missing: the last
// that was read, or one before that in the same chain.
func (x *Indexer) holds(ctx context.Context, c *client, b *block) (bool, error) {
	x.mu.Lock()
	last := x.last()
	if !last.counted && len(x.read) > 0 { // it was not the head when it was read
		err := x.forget(len(x.read) - 1)
		x.mu.Unlock()
		return false, x.failed(err)
	}
	x.mu.Unlock()
	if last.is(b) {
		return true, nil
	}
	var before, now, after *block
	if err := c.all(ctx, getBlock(last.number, &before), getBlock(uint64(b.Number), &now), getBlock(last.number, &after)); err != nil {
		return false, err
	}
	if !last.is(before) || now == nil || now.Hash != b.Hash || !last.is(after) {
		return false, waitFor(IndexingEvents, "block %d changed while DepositEvents were read", uint64(b.Number))
	}
	return true, nil
}

// eventQuery asks for the events of a range of blocks.
type eventQuery struct {
	version  uint64
	from, to uint64
	isHead   bool // the contract's count in the last block is asked as well
	isFirst  bool // and that in the block before the first
	final    *block

	// The answer.
	refused       bool // the client wants fewer blocks
	before, after *block
	logs          logList
	count, base   *counting
}

// plan returns what to ask next, nil if all up to the head was read.
func (x *Indexer) plan(head uint64, final *block) *eventQuery {
	x.mu.Lock()
	defer x.mu.Unlock()
	from := x.next()
	if from > head {
		return nil
	}
	q := &eventQuery{version: x.version, from: from, to: min(head, from+x.step-1), final: final}
	q.isHead, q.isFirst = q.to == head, len(x.read) == 0 && x.cfg.StartBlock > 0
	return q
}

// ask reads one range of blocks. The last block's header is asked before and
// after in the same request, so that a client that lags behind, or changes its
// mind meanwhile, is noticed.
func (x *Indexer) ask(ctx context.Context, c *client, q *eventQuery) error {
	contract := common.Address(x.cfg.Network.DepositContract)
	filter := map[string]any{
		"fromBlock": hexutil.Uint64(q.from), "toBlock": hexutil.Uint64(q.to),
		"address": contract, "topics": []common.Hash{depositTopic},
	}
	calls := []rpc.BatchElem{
		getBlock(q.to, &q.before),
		{Method: "eth_getLogs", Args: []any{filter}, Result: &q.logs},
	}
	if q.isHead {
		q.count = &counting{}
		calls = append(calls, q.count.call(contract, q.to))
	}
	if q.isFirst {
		q.base = &counting{}
		calls = append(calls, q.base.call(contract, q.from-1))
	}
	calls = append(calls, getBlock(q.to, &q.after))
	if err := c.batch(ctx, calls); err != nil {
		x.ease(q) // it may have been too much to answer
		return err
	}
	for i, call := range calls {
		for _, asked := range []*counting{q.count, q.base} {
			if asked != nil && call.Result == &asked.output {
				asked.err, calls[i].Error = call.Error, nil
			}
		}
	}
	err := errors.Join(calls[0].Error, calls[1].Error, calls[len(calls)-1].Error)
	if q.refused = err != nil; q.refused && !x.ease(q) {
		return x.doubt(q, waitFor(EventsIncomplete, "the execution client at %s does not tell the DepositEvents of block %d: %v; use one that keeps all logs of the deposit contract",
			c.host, q.from, err))
	}
	return nil
}

// ease has fewer blocks asked for at once: most clients limit blocks or results.
// It reports whether there is anything to ease.
func (x *Indexer) ease(q *eventQuery) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.step = max(1, min(x.step, q.to-q.from+1)/2)
	return q.to > q.from
}

// take keeps an answer, if nothing is missing in it, and how far reading has come
// with it. An answer to a question that somebody else had answered meanwhile is
// left aside.
func (x *Indexer) take(host string, q *eventQuery) error {
	if q.before == nil || q.after == nil || q.before.Hash != q.after.Hash {
		return waitFor(IndexingEvents, "block %d changed while its events were read", q.to)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.version != q.version {
		return nil
	}
	if q.base != nil {
		x.base, x.baseErr = q.base.count()
	}
	events, next, gap := x.follow(host, q)
	if gap == nil && q.count != nil {
		var err error
		if gap, err = x.compare(host, q, next); err != nil {
			return err
		}
	}
	if gap != nil { // what was seen is kept all the same
		err := x.write(func(c *change) error { return keep(c, events) }, func() { x.remember(events) })
		return errors.Join(x.failed(err), x.doubtLocked(gap))
	}
	to := checkpoint{number: q.to, hash: q.before.Hash, next: next, counted: q.count != nil}
	return x.failed(x.advance(q, to, events))
}

// advance keeps events and that all up to the checkpoint were read, in one go.
func (x *Indexer) advance(q *eventQuery, to checkpoint, events []seenEvent) error {
	read, dropped := thin(append(slices.Clone(x.read), to))
	final := x.final
	if f := q.final; f != nil && (final == nil || uint64(f.Number) > final.number) {
		final = &checkpoint{number: uint64(f.Number), hash: f.Hash}
	}
	return x.write(func(c *change) error {
		for _, old := range dropped {
			if err := c.unset(bucketBlocks, bigEndian(old.number)); err != nil {
				return err
			}
		}
		errs := []error{keep(c, events)}
		if q.from == x.cfg.StartBlock {
			errs = append(errs, c.set(bucketAbout, rowBase, bigEndian(x.base)))
		}
		if final != x.final {
			key, value := final.row()
			errs = append(errs, c.set(bucketAbout, rowFinal, append(key, value...)))
		}
		key, value := to.row()
		return errors.Join(append(errs, c.set(bucketBlocks, key, value))...)
	}, func() {
		x.read, x.final = read, final
		x.remember(events)
		if to.counted {
			x.trouble, x.doubted = nil, time.Time{}
		}
		switch n := len(events); {
		case n > manyEvents:
			x.step = max(1, x.step/2)
		case n < fewEvents:
			x.step = min(2*x.step, mostBlocks)
		}
	})
}

func keep(c *change, events []seenEvent) error {
	for _, event := range events {
		key, value := event.row()
		if err := c.set(bucketEvents, key, value); err != nil {
			return err
		}
	}
	return nil
}
