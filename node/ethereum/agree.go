package ethereum

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// disagreement compares what the clients said of their chain last. One that is
// down keeps its word: that it went silent settles nothing.
func (s *endpoints) disagreement() *waiting {
	for _, what := range []struct {
		name string
		of   func(*facts) string // empty while it is not known
	}{
		{"the chain ID", func(f *facts) string { return f.chainID }},
		{"the first block", func(f *facts) string { return f.genesis.Hex() }},
		{"the hash of the deposit contract's code", func(f *facts) string {
			if f.code == (common.Hash{}) {
				return ""
			}
			return f.code.Hex()
		}},
	} {
		says := make(map[string]bool)
		var words []string
		for _, e := range s.list {
			if e.facts != nil && what.of(e.facts) != "" {
				says[what.of(e.facts)] = true
				words = append(words, e.client.host+" says "+what.of(e.facts))
			}
		}
		if len(says) > 1 {
			return waitFor(ClientsDisagree, "the execution clients do not agree on %s: %s; take the wrong one out of --execution-rpc", what.name, strings.Join(words, ", "))
		}
	}
	return nil
}

// agreeOnFinal makes sure that no other client has another block in the place of
// the final one. Blocks name the one before them by its hash, so whoever has that
// block has the same final history. A client that has not come so far says
// nothing against it.
func (p *pass) agreeOnFinal(ctx context.Context) error {
	s, number := p.duty.endpoints, p.world.final
	others := s.others()
	if len(others) == 0 || !p.world.hasFinal {
		return nil
	}
	var ours *block
	if err := p.duty.client.all(ctx, getBlock(number, &ours)); err != nil {
		return err
	}
	if ours == nil {
		return waitFor(ChainUnreachable, "the execution client at %s has no block %d, which is final", p.duty.client.host, number)
	}
	theirs := make([]*block, len(others))
	s.fromEach(ctx, others, func(i int) []rpc.BatchElem { return []rpc.BatchElem{getBlock(number, &theirs[i])} })
	for i, b := range theirs {
		if b != nil && b.Hash != ours.Hash {
			return waitFor(ClientsDisagree, "the execution clients do not agree on block %d, which is final by the word of the one at %s: it has %s there, the one at %s has %s; nothing is taken for final or lost before they agree",
				number, p.duty.client.host, ours.Hash, others[i].client.host, b.Hash)
		}
	}
	return nil
}

// denied asks the other clients about a deposit that this one calls lost. If any
// of them shows it in a block, it is not.
func (p *pass) denied(ctx context.Context, c claim) *waiting {
	s := p.duty.endpoints
	if c.kind != fsmpb.Observation_KIND_LOST {
		return nil
	}
	others, attempts := s.others(), c.deposit.GetAttempts()
	receipts := make([][]*receipt, len(others))
	s.fromEach(ctx, others, func(i int) []rpc.BatchElem {
		receipts[i] = make([]*receipt, len(attempts))
		calls := make([]rpc.BatchElem, len(attempts))
		for j, a := range attempts {
			calls[j] = getReceipt(common.Hash(a.GetTxHash()), &receipts[i][j])
		}
		return calls
	})
	for i, e := range others {
		if slices.ContainsFunc(receipts[i], func(r *receipt) bool { return r != nil && p.pays(r, c.deposit) }) {
			return waitFor(ClientsDisagree, "by the execution client at %s the deposit for 0x%x is lost, the one at %s shows it in a block; it is not taken for lost before they agree",
				p.duty.client.host, c.deposit.GetPubkey(), e.client.host)
		}
	}
	return nil
}

// spread gives transactions that were just sent to the other clients too, so that
// one which has lost its peers can not hold them back. They are logged, and the
// chain runs one of a nonce, whoever brings it. What they answer is of no account.
func (p *pass) spread(ctx context.Context, out []outgoing) {
	s := p.duty.endpoints
	if len(out) == 0 {
		return
	}
	others := s.others()
	s.fromEach(ctx, others, func(int) []rpc.BatchElem {
		calls := make([]rpc.BatchElem, len(out))
		for i, o := range out {
			calls[i] = rpc.BatchElem{Method: "eth_sendRawTransaction", Args: []any{hexutil.Bytes(o.attempt.GetRaw())}, Result: new(common.Hash)}
		}
		return calls
	})
}

// fromEach asks clients at the same time, no longer than a probe may take. One
// that does not answer is passed over; its results stay as they were.
func (s *endpoints) fromEach(ctx context.Context, list []*endpoint, calls func(i int) []rpc.BatchElem) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	now := s.now()
	var group sync.WaitGroup
	for i, e := range list {
		group.Go(func() {
			if err := e.client.batch(ctx, calls(i)); err != nil {
				e.fail("while it was asked for a second opinion: "+detailOf(err), now)
			}
		})
	}
	group.Wait()
}
