package ethereum

import (
	"context"
	"fmt"

	"github.com/ethereum/go-ethereum/rpc"
)

// rewind forgets the checkpoints that a reorganisation took away, so that the
// blocks after them are read again, and returns the newest final block. What was
// final and is gone was not reorganised: this is another history.
func (x *Indexer) rewind(ctx context.Context, c *client, e extent, h history) (final *block, err error) {
	for {
		x.mu.Lock()
		version, last, known := x.version, x.newestBelow(uint64(e.head.Number)), x.final
		x.mu.Unlock()
		var lastNow, knownNow *block
		var calls []rpc.BatchElem
		if e.hasFinal && final == nil {
			calls = append(calls, getBlock(e.final, &final))
		}
		if known != nil {
			calls = append(calls, getBlock(known.number, &knownNow))
		}
		if last != nil {
			calls = append(calls, getBlock(last.number, &lastNow))
		}
		if err := c.all(ctx, calls...); err != nil {
			return nil, err
		}
		if known != nil && !known.is(knownNow) {
			if err := x.otherHistory(c.host, version, *known, knownNow, e, h); err != nil {
				return nil, err
			}
			continue
		}
		done, err := x.backTo(version, last, lastNow, c.host, e)
		if done || err != nil {
			return final, err
		}
	}
}

// newestBelow returns the newest checkpoint that is not beyond the head.
func (x *Indexer) newestBelow(head uint64) *checkpoint {
	for i := len(x.read) - 1; i >= 0; i-- {
		if x.read[i].number <= head {
			return &x.read[i]
		}
	}
	return nil
}

// backTo forgets the checkpoints beyond one that still holds, or that one if it
// does not. It is done once nothing is left to forget.
func (x *Indexer) backTo(version uint64, last *checkpoint, now *block, host string, e extent) (done bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.version != version {
		return false, nil
	}
	keep := 0
	for last != nil && keep < len(x.read) && x.read[keep].number <= last.number {
		keep++
	}
	if keep > 0 && !last.is(now) {
		return false, x.failed(x.forget(keep - 1))
	}
	if keep == len(x.read) {
		return true, nil
	}
	if beyond := x.last().number; beyond-uint64(e.head.Number) > recentCheckpoints {
		return false, waitFor(ChainBehind, "the execution client at %s has come to block %d, and DepositEvents were read up to block %d before: it has not caught up, or its chain was reset",
			host, uint64(e.head.Number), beyond)
	}
	return false, x.failed(x.forget(keep))
}

// forget drops all checkpoints but the first so many.
func (x *Indexer) forget(keep int) error {
	return x.write(func(c *change) error {
		for _, old := range x.read[keep:] {
			if err := c.unset(bucketBlocks, bigEndian(old.number)); err != nil {
				return err
			}
		}
		return nil
	}, func() { x.read = x.read[:keep:keep] })
}

// otherHistory deals with a chain that does not hold a block which was final. If
// the replicated state knows better, or knows nothing of this chain, this node's
// client was the one that was wrong, or nothing was lost: everything is read again,
// and what was seen stays seen. Otherwise the chain was reset.
func (x *Indexer) otherHistory(host string, version uint64, known checkpoint, now *block, e extent, h history) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.version != version {
		return nil
	}
	if now == nil && uint64(e.head.Number) >= known.number {
		return waitFor(ChainUnreachable, "the execution client at %s does not show its block %d", host, known.number)
	}
	if !h.known || h.confirmed >= known.number && now != nil {
		x.log.Warn("the chain has another history than the index of DepositEvents was read from; all is read again",
			"file", x.path, "client", host, "block", known.number, "was", known.hash)
		return x.failed(x.restart())
	}
	text := fmt.Sprintf("block %d, which was final with hash %s", known.number, known.hash)
	if now == nil {
		return forgotten(host, e, text)
	}
	return waitFor(ChainReset, "the execution client at %s is on a chain without %s: it was reset, or is another one; if the client of before was wrong, stop this node and remove %s",
		host, text, x.path)
}
