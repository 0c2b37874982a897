package ethereum

import (
	"context"
	"fmt"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// observationChunk is how many observations one command reports.
const observationChunk = 1000

// sighting is what the chain shows of one deposit.
type sighting struct {
	deposit *fsmpb.Deposit
	landed  *receipt // of the attempt that is in a block, nil if none is
	known   *fsmpb.Attempt
}

// watch compares every deposit that is under way with the chain and reports what
// has changed.
func (p *pass) watch(ctx context.Context) error {
	sightings, err := p.sight(ctx)
	if err != nil {
		return err
	}
	var found []*fsmpb.Observation
	var claims []claim
	for _, s := range sightings {
		observation, claim, w := p.judge(s)
		if w != nil {
			p.wait(w)
		}
		if observation != nil {
			found = append(found, observation)
		}
		if claim != nil {
			claims = append(claims, *claim)
		}
	}
	proven, err := p.prove(ctx, p.proveOnly(claims))
	if err != nil {
		return err
	}
	return p.observe(ctx, append(found, proven...))
}

// observe proposes observations.
func (p *pass) observe(ctx context.Context, found []*fsmpb.Observation) error {
	for chunk := range slices.Chunk(found, observationChunk) {
		reachObserving(chunk)
		if _, err := p.session.Propose(ctx, &fsmpb.Command{Body: &fsmpb.Command_ObserveDeposits{
			ObserveDeposits: &fsmpb.ObserveDeposits{Observations: chunk},
		}}); err != nil {
			return fmt.Errorf("report %d observations of deposits: %w", len(chunk), err)
		}
		reachObserved(chunk)
	}
	return nil
}

// sight asks for the receipt of every attempt, and whether the client knows those
// that have none.
func (p *pass) sight(ctx context.Context) ([]sighting, error) {
	type question struct {
		at      int
		attempt *fsmpb.Attempt
		receipt *receipt
		known   *struct {
			Hash common.Hash `json:"hash"`
		}
	}
	var sightings []sighting
	var questions []*question
	var calls []rpc.BatchElem
	for d := range open(p.view) {
		if !p.onChain(d) {
			continue
		}
		for _, a := range d.GetAttempts() {
			q := &question{at: len(sightings), attempt: a}
			hash := common.Hash(a.GetTxHash())
			questions = append(questions, q)
			calls = append(calls, getReceipt(hash, &q.receipt),
				rpc.BatchElem{Method: "eth_getTransactionByHash", Args: []any{hash}, Result: &q.known})
		}
		sightings = append(sightings, sighting{deposit: d})
	}
	if err := p.duty.client.all(ctx, calls...); err != nil {
		return nil, err
	}
	for _, q := range questions {
		s := &sightings[q.at]
		if q.receipt != nil {
			s.landed = q.receipt
		}
		if q.known != nil {
			s.known = q.attempt
			p.settled[common.Hash(q.attempt.GetTxHash())] = true
		}
	}
	return sightings, nil
}

// judge decides what a sighting means: something to report, something that is
// worth reporting once it is proven to be final, or a reason to wait.
func (p *pass) judge(s sighting) (*fsmpb.Observation, *claim, *waiting) {
	if s.deposit.GetState() == fsmpb.DepositState_DEPOSIT_STATE_MINED {
		return p.judgeMined(s)
	}
	return p.judgeSent(s)
}

func (p *pass) judgeMined(s sighting) (*fsmpb.Observation, *claim, *waiting) {
	d := s.deposit
	switch {
	case s.landed == nil || !p.pays(s.landed, d):
		return &fsmpb.Observation{
			Pubkey: d.GetPubkey(), Kind: fsmpb.Observation_KIND_UNMINED, TxHash: d.GetTxHash(),
			BlockNumber: d.GetBlockNumber(), BlockHash: d.GetBlockHash(), Reason: "its block is no longer part of the chain",
		}, nil, nil
	case s.landed.BlockHash != common.Hash(d.GetBlockHash()):
		return mined(d, s.landed), nil, nil
	case p.world.isFinal(d.GetBlockNumber()):
		return nil, &claim{deposit: d, block: s.landed, kind: fsmpb.Observation_KIND_FINAL}, nil
	}
	return nil, nil, nil
}

func (p *pass) judgeSent(s sighting) (*fsmpb.Observation, *claim, *waiting) {
	d, attempt := s.deposit, s.deposit.GetAttempts()[0] // all attempts have one nonce
	switch {
	case s.landed != nil && p.pays(s.landed, d):
		return mined(d, s.landed), nil, nil
	case s.landed != nil && s.landed.Status != 0:
		return nil, nil, waitFor(EventMissing, "transaction %s succeeded and the deposit contract emitted no DepositEvent for 0x%x: is %s the deposit contract?",
			s.landed.TxHash, d.GetPubkey(), common.Address(p.duty.cfg.Network.DepositContract))
	case s.landed != nil:
		w := waitFor(ContractReverts, "the deposit for 0x%x was reverted in block %d", d.GetPubkey(), uint64(s.landed.BlockNumber))
		if !p.world.isFinal(uint64(s.landed.BlockNumber)) {
			return nil, nil, w
		}
		return nil, &claim{deposit: d, block: s.landed, kind: fsmpb.Observation_KIND_LOST, reason: "reverted"}, w
	case attempt.GetNonce() < p.world.used[common.Address(d.GetAccount())]:
		w := waitFor(ForeignTransaction, "nonce %d of the funding account %s, which was to pay for 0x%x, was used by a transaction that is not ours; once that is final, deposits from this account stop until you run keysteward deposits resume",
			attempt.GetNonce(), common.Address(d.GetAccount()), d.GetPubkey())
		w.aside = !p.ours(d)
		return nil, &claim{deposit: d, kind: fsmpb.Observation_KIND_LOST}, w
	case s.known != nil && d.GetState() == fsmpb.DepositState_DEPOSIT_STATE_SIGNED:
		return sent(d.GetPubkey(), s.known), nil, nil
	}
	return nil, nil, nil
}

// pays reports whether the receipt is of a transaction that made exactly this
// deposit: it succeeded, and our DepositEvent is in it.
func (p *pass) pays(r *receipt, d *fsmpb.Deposit) bool {
	if r.Status != 1 {
		return false
	}
	return slices.ContainsFunc(r.Logs, func(log *types.Log) bool {
		event, err := parseDepositEvent(log, p.duty.cfg.Network.DepositContract)
		return err == nil && string(event.PublicKey[:]) == string(d.GetPubkey()) &&
			string(event.Credentials[:]) == string(d.GetCredentials()) &&
			event.AmountGwei == d.GetAmountGwei() && string(event.Signature[:]) == string(d.GetSignature())
	})
}

func mined(d *fsmpb.Deposit, r *receipt) *fsmpb.Observation {
	return &fsmpb.Observation{
		Pubkey: d.GetPubkey(), Kind: fsmpb.Observation_KIND_MINED, TxHash: r.TxHash[:],
		BlockNumber: uint64(r.BlockNumber), BlockHash: r.BlockHash[:],
	}
}

func sent(pubkey []byte, a *fsmpb.Attempt) *fsmpb.Observation {
	return &fsmpb.Observation{Pubkey: pubkey, Kind: fsmpb.Observation_KIND_SENT, TxHash: a.GetTxHash()}
}
