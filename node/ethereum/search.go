package ethereum

import (
	"context"
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

const (
	// gapLimit is after how many indexes in a row without a deposit the search ends.
	gapLimit = 20
	// searchChunk is how many indexes one command covers, searchPass how many a pass does.
	searchChunk = 64
	searchPass  = 1024
)

// searched reports whether the seed's keys were looked for among the deposits of
// the contract, in all events that this node knows; of the chain with this first
// block, if that is known.
func (p *pass) searched(view *fsm.View, genesis *block) bool {
	s, cfg := view.Meta().GetSeedSearch(), p.duty.cfg
	return s.GetDone() && s.GetChainId() == cfg.Network.ChainID &&
		common.BytesToAddress(s.GetContract()) == cfg.Network.DepositContract &&
		s.GetStartBlock() <= cfg.StartBlock &&
		(genesis == nil || common.BytesToHash(s.GetGenesisHash()) == genesis.Hash)
}

// searchSeed looks for deposits of the seed's keys before any of these is used: a
// seed that is brought may have been used before, by another cluster or by hand,
// and validators may run with its keys. What is found is adopted. It is done once
// for a chain and contract, in the completed index, and goes on where it was. It
// begins anew once earlier events are known than then.
func (p *pass) searchSeed(ctx context.Context) error {
	view := p.session.View()
	if p.searched(view, p.world.genesis) || view.Secret(fsm.SecretSeed) == nil {
		return nil
	}
	if p.inDoubt() {
		return nil // settleAccounts says so
	}
	if !p.indexed {
		p.wait(waitFor(IndexingEvents, "reading earlier deposits from the chain, to look for those of this seed: block %d of %d", p.duty.events.Status().NextBlock, uint64(p.world.head.Number)))
		return nil
	}
	if w := p.earlierUnknown(); w != nil {
		p.wait(w)
		return nil
	}
	seed, err := p.seed(ctx)
	if w := (*waiting)(nil); errors.As(err, &w) {
		p.wait(w)
		return nil
	}
	if err != nil {
		return err
	}
	defer seed.Zero()
	for range searchPass / searchChunk {
		goOn, err := p.searchOn(ctx, seed)
		if err != nil {
			return err
		}
		if !goOn {
			return p.generate(ctx)
		}
	}
	p.wait(waitFor(SearchingSeed, "looking for deposits that were made with this seed before: index %d", p.session.View().Meta().GetSeedSearch().GetNextIndex()))
	return nil
}

// searchOn looks the next indexes up and reports whether there are more. The search
// ends gapLimit indexes behind the last that was found, and not before those that
// were generated already.
func (p *pass) searchOn(ctx context.Context, seed *validator.Seed) (goOn bool, err error) {
	meta := p.session.View().Meta()
	s := p.searchSoFar(meta.GetSeedSearch())
	first := s.GetNextIndex()
	end := max(s.GetFound()+gapLimit, meta.GetNextIndex())
	if meta.GetRestore().GetOpen() {
		// The same backup may have been restored before, by a cluster that is lost too
		// and began where this one begins.
		end = max(end, meta.GetNextIndex()+generateChunk)
	}
	c := &fsmpb.AdoptKeys{FirstIndex: first, Search: s}
	lost := leapOf(meta, s)
	if lost.over(first) {
		s.NextIndex, s.Done = lost.to, lost.to >= end
		return !s.GetDone(), p.adopt(ctx, c)
	}
	pubkeys, err := publicKeys(ctx, seed, first, int(min(searchChunk, lost.before(first, end)-first)))
	if err != nil {
		return false, err
	}
	stakes, notFinal, err := p.stakes(ctx, pubkeys)
	if err != nil {
		return false, err
	}
	for i, pubkey := range pubkeys {
		if notFinal != nil && i == notFinal.at {
			break
		}
		s.NextIndex = first + uint64(i) + 1
		if stakes[i] != nil {
			c.Found = append(c.Found, &fsmpb.FoundKey{Pubkey: pubkey, Index: s.GetNextIndex() - 1, Stake: stakes[i]})
			end = max(end, s.GetNextIndex()+gapLimit)
		}
	}
	if s.Done = s.GetNextIndex() >= end; s.GetNextIndex() > first || s.GetDone() {
		if err := p.adopt(ctx, c); err != nil {
			return false, err
		}
	}
	if notFinal != nil {
		p.wait(waitFor(SearchingSeed, "a deposit for the key with index %d of the seed, in block %d, is not final yet; no key is generated before all deposits of the seed are known",
			s.GetNextIndex(), notFinal.block))
		return false, nil
	}
	return !s.GetDone(), nil
}

// searchSoFar is how far the search of this chain has come.
func (p *pass) searchSoFar(old *fsmpb.SeedSearch) *fsmpb.SeedSearch {
	cfg := p.duty.cfg
	s := &fsmpb.SeedSearch{
		ChainId: cfg.Network.ChainID, GenesisHash: p.world.genesis.Hash[:], Contract: cfg.Network.DepositContract[:],
		BlockNumber: uint64(p.world.head.Number),
	}
	if before, known := p.duty.events.before(); !known || before > 0 {
		s.StartBlock = cfg.StartBlock // else all events are known
	}
	if fsm.SameSearch(s, old) && !old.GetDone() {
		s.NextIndex, s.Found = old.GetNextIndex(), old.GetFound()
	}
	return s
}

// unsettled is a key with a deposit of which it is not final whether it stays.
type unsettled struct {
	at    int // which of the keys
	block uint64
}

// stakes returns the final deposit of each key, nil where there is none, and the
// first key of which that can not be told yet.
func (p *pass) stakes(ctx context.Context, pubkeys [][]byte) (stakes []*fsmpb.Stake, notFinal *unsettled, err error) {
	type candidate struct {
		at    int
		event seenEvent
		now   *block
	}
	var candidates []*candidate
	var calls []rpc.BatchElem
	pending := make([]uint64, len(pubkeys)) // block of a deposit that is not final
	for i, pubkey := range pubkeys {
		events, err := p.duty.events.seen(validator.PublicKey(pubkey))
		if err != nil {
			return nil, nil, err
		}
		for _, event := range events {
			if !p.world.isFinal(event.BlockNumber) {
				pending[i] = event.BlockNumber
				continue
			}
			c := &candidate{at: i, event: event}
			candidates, calls = append(candidates, c), append(calls, getBlock(event.BlockNumber, &c.now))
		}
	}
	if err := p.duty.client.all(ctx, calls...); err != nil {
		return nil, nil, err
	}
	stakes = make([]*fsmpb.Stake, len(pubkeys))
	for _, c := range candidates {
		if c.now == nil {
			return nil, nil, waitFor(ChainUnreachable, "the execution client at %s does not show its block %d", p.duty.client.host, c.event.BlockNumber)
		}
		if c.now.Hash == c.event.BlockHash && stakes[c.at] == nil {
			stakes[c.at] = &fsmpb.Stake{
				TxHash: c.event.TxHash[:], BlockNumber: c.event.BlockNumber,
				Credentials: c.event.credentials[:], AmountGwei: c.event.amountGwei,
			}
		}
	}
	for i, number := range pending {
		if stakes[i] == nil && number != 0 { // no deposit is in the first block
			return stakes, &unsettled{at: i, block: number}, nil
		}
	}
	return stakes, nil, nil
}

// adopt reports what was found.
func (p *pass) adopt(ctx context.Context, c *fsmpb.AdoptKeys) error {
	_, err := p.session.Propose(ctx, &fsmpb.Command{Body: &fsmpb.Command_AdoptKeys{AdoptKeys: c}})
	if err != nil {
		return fmt.Errorf("report the search for deposits of the seed from index %d on: %w", c.GetFirstIndex(), err)
	}
	view := p.session.View()
	for _, f := range c.GetFound() {
		if view.Key(f.GetPubkey()).GetAdopted() == nil {
			continue // it is known otherwise
		}
		p.duty.log.Warn("a key of the seed has a deposit already: it rests until keysteward keys confirm-stopped",
			"pubkey", fmt.Sprintf("0x%x", f.GetPubkey()), "index", f.GetIndex(), "block", f.GetStake().GetBlockNumber())
	}
	if c.GetSearch().GetDone() {
		p.duty.log.Info("deposits of the seed's keys were looked for", "indexes", c.GetSearch().GetNextIndex(), "block", c.GetSearch().GetBlockNumber())
	}
	return nil
}
