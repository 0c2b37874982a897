package ethereum

import "slices"

// before returns how many deposits the contract counted before the start block. It
// is known once the events from there on were found to be complete, by that number.
func (x *Indexer) before() (deposits uint64, known bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.base, slices.ContainsFunc(x.read, func(c checkpoint) bool { return c.counted })
}

// earlierUnknown returns why no key of the seed may be used: there were deposits
// before the start block, which nobody has looked at, and a key that got one of
// them would be paid for twice. Only an operator can know that there is none.
// It is nil before the index is complete, when nothing is signed either.
func (p *pass) earlierUnknown() *waiting {
	cfg := p.duty.cfg
	if !p.indexed || cfg.StartBlock == 0 || cfg.UnusedBefore {
		return nil
	}
	switch deposits, known := p.duty.events.before(); {
	case !known:
		return waitFor(IndexingEvents, "DepositEvents are being read again, from block %d on", cfg.StartBlock)
	case deposits > 0:
		return waitFor(EarlierUnknown, "the contract took %d deposits before --deposit-start-block %d, and some of them may be for keys of this seed, which would be paid for twice: "+
			"set it to a block before the first deposit, or to 0; if the seed was never used before that block by anybody else, say so with --seed-unused-before-start-block",
			deposits, cfg.StartBlock)
	}
	return nil
}
