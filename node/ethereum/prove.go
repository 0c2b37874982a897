package ethereum

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// claim is an observation that counts only with final proof.
type claim struct {
	deposit *fsmpb.Deposit
	kind    fsmpb.Observation_Kind
	reason  string
	block   *receipt // where it happened, nil if another transaction used the nonce
}

// evidence is what claims are checked against: the chain's blocks by number, and
// how many transactions each account had in the newest final one.
type evidence struct {
	blocks map[uint64]*block
	nonces map[common.Address]*hexutil.Uint64
	events bool // of the chain as it is now were read up to the head, and none is missing
}

// prove returns the observations whose claims are proven and keeps the rest for
// a later pass. A loss by a foreign transaction stops its account besides.
func (p *pass) prove(ctx context.Context, claims []claim) ([]*fsmpb.Observation, error) {
	if len(claims) == 0 || !p.world.hasFinal {
		return nil, nil
	}
	e, err := p.gather(ctx, claims)
	if err != nil {
		return nil, err
	}
	var proven []*fsmpb.Observation
	for _, c := range claims {
		ok, w, err := p.holds(ctx, c, e)
		if err != nil {
			return nil, err
		}
		if w != nil {
			w.aside = !p.ours(c.deposit)
			p.waits = append([]*waiting{w}, p.waits...)
		}
		if !ok {
			continue
		}
		if w := p.denied(ctx, c); w != nil {
			p.waits = append([]*waiting{w}, p.waits...)
			continue
		}
		if c.block == nil {
			c.reason = foreignNonce(c)
			p.duty.log.Error("a deposit was lost: deposits are stopped until an operator resumes", "reason", c.reason)
		}
		proven = append(proven, c.observation())
	}
	return proven, nil
}

// gather asks for the evidence, after the receipts: what these did not show of a
// final block is not in it.
func (p *pass) gather(ctx context.Context, claims []claim) (evidence, error) {
	e := evidence{blocks: make(map[uint64]*block), nonces: make(map[common.Address]*hexutil.Uint64)}
	for _, c := range claims {
		if c.block != nil {
			e.blocks[uint64(c.block.BlockNumber)] = nil
		} else {
			e.nonces[common.Address(c.deposit.GetAccount())] = new(hexutil.Uint64)
		}
	}
	numbers := slices.Sorted(maps.Keys(e.blocks))
	blocks := make([]*block, len(numbers))
	var calls []rpc.BatchElem
	for i, number := range numbers {
		calls = append(calls, getBlock(number, &blocks[i]))
	}
	for account, nonce := range e.nonces {
		calls = append(calls, getNonce(account, p.world.final, nonce))
	}
	if err := p.duty.client.all(ctx, calls...); err != nil {
		return e, err
	}
	if len(e.nonces) > 0 {
		// What was read of blocks that are gone proves nothing about those in their place.
		err := p.readEvents(ctx)
		if w := (*waiting)(nil); errors.As(err, &w) {
			p.wait(w) // deposits in flight do not wait for it
		} else if err != nil {
			return e, err
		}
		e.events = err == nil && p.indexed
	}
	for i, number := range numbers {
		e.blocks[number] = blocks[i]
	}
	return e, nil
}

// holds decides one claim.
func (p *pass) holds(ctx context.Context, c claim, e evidence) (bool, *waiting, error) {
	if c.block != nil {
		now := e.blocks[uint64(c.block.BlockNumber)]
		return now != nil && now.Hash == c.block.BlockHash, nil, nil
	}
	used := uint64(*e.nonces[common.Address(c.deposit.GetAccount())]) > c.deposit.GetAttempts()[0].GetNonce()
	if !used || !e.events {
		return false, nil, nil
	}
	if first := c.deposit.GetAttempts()[0]; p.duty.cfg.StartBlock > first.GetFinalBlock()+1 {
		return false, waitFor(EventsIncomplete, "--deposit-start-block %d is too late: the deposit for 0x%x was signed after block %d, and whether it landed before the start block is not known",
			p.duty.cfg.StartBlock, c.deposit.GetPubkey(), first.GetFinalBlock()), nil
	}
	return p.neverLanded(ctx, c.deposit)
}

// neverLanded reports whether no DepositEvent contradicts that a deposit is lost
// whose nonce was used otherwise. An event of one of its own attempts does, until
// the absence of its block is final. One of another transaction does not, once it
// is final: the key is not paid for again then, but retired.
func (p *pass) neverLanded(ctx context.Context, d *fsmpb.Deposit) (bool, *waiting, error) {
	seen, err := p.duty.events.seen(validator.PublicKey(d.GetPubkey()))
	if err != nil {
		return false, waitFor(IndexFailed, "%v", err), nil
	}
	for _, at := range seen {
		gone, err := p.gone(ctx, at.place)
		switch {
		case err != nil:
			return false, nil, err
		case gone:
		case tried(d, at.TxHash):
			return false, waitFor(ReceiptsMissing, "the chain holds the deposit for 0x%x in transaction %s, and the execution client at %s has no receipt of it: use one that indexes all transactions",
				d.GetPubkey(), at.TxHash, p.duty.client.host), nil
		case !p.world.isFinal(at.BlockNumber):
			return false, nil, nil
		}
	}
	return true, nil, nil
}

// tried reports whether the transaction is an attempt at this deposit, one that
// was lost included.
func tried(d *fsmpb.Deposit, tx common.Hash) bool {
	return slices.ContainsFunc(d.GetAttempts(), func(a *fsmpb.Attempt) bool { return bytes.Equal(a.GetTxHash(), tx[:]) }) ||
		slices.ContainsFunc(d.GetLosses(), func(l *fsmpb.Loss) bool { return bytes.Equal(l.GetTxHash(), tx[:]) })
}

func foreignNonce(c claim) string {
	return fmt.Sprintf("nonce %d of the funding account %s was used by a transaction that is not ours, so the deposit for 0x%x was lost; find out who has the account's key, then run keysteward deposits resume, or give Keysteward an account of its own with --funding-keystore",
		c.deposit.GetAttempts()[0].GetNonce(), common.Address(c.deposit.GetAccount()), c.deposit.GetPubkey())
}

func (c claim) observation() *fsmpb.Observation {
	o := &fsmpb.Observation{
		Pubkey: c.deposit.GetPubkey(), Kind: c.kind, TxHash: c.deposit.GetAttempts()[0].GetTxHash(), Reason: c.reason,
		ForeignTransaction: c.block == nil,
	}
	if c.block != nil {
		o.TxHash, o.BlockNumber, o.BlockHash = c.block.TxHash[:], uint64(c.block.BlockNumber), bytes.Clone(c.block.BlockHash[:])
		if c.reason != "" {
			o.Reason = fmt.Sprintf("%s in block %d", c.reason, o.GetBlockNumber())
		}
	}
	return o
}
