package ethereum

import (
	"context"
	"fmt"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// retireForeign takes keys out of use that somebody else paid for, once that is
// final: no deposit of ours would make a validator of them, and their requests
// get other keys.
func (p *pass) retireForeign(ctx context.Context) error {
	if !p.searched(p.session.View(), p.world.genesis) {
		return nil // it may be ours, from before
	}
	var found []*fsmpb.Observation
	for d := range p.session.View().ToSign() {
		events, err := p.duty.events.seen(validator.PublicKey(d.GetPubkey()))
		if err != nil {
			return err
		}
		if len(events) > 0 {
			p.duty.paid.lookAt(validator.PublicKey(d.GetPubkey())) // the key may be younger than its event
		}
		for _, at := range events {
			if !p.world.isFinal(at.BlockNumber) {
				continue
			}
			gone, err := p.gone(ctx, at.place)
			if err != nil {
				return err
			}
			if gone {
				continue
			}
			o := &fsmpb.Observation{
				Pubkey: d.GetPubkey(), Kind: fsmpb.Observation_KIND_FOREIGN,
				TxHash: at.TxHash[:], BlockNumber: at.BlockNumber, BlockHash: at.BlockHash[:],
				Reason: fmt.Sprintf("the chain holds a deposit for it that is not ours, in transaction %s of block %d", at.TxHash, at.BlockNumber),
			}
			found = append(found, o)
			p.duty.log.Warn("a key is retired: somebody else paid for it",
				"pubkey", fmt.Sprintf("0x%x", o.GetPubkey()), "transaction", at.TxHash, "block", at.BlockNumber)
			break
		}
	}
	return p.observe(ctx, found)
}
