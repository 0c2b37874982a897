package ethereum

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

const (
	// sweepPass is how many keys are looked up in the index in one pass.
	sweepPass = 20_000
	// mostFindings bounds what is remembered of payments by others.
	mostFindings = 10_000
	// settlePass is of how many payments a pass asks the execution client.
	settlePass = 64
)

// finding is a DepositEvent of a key of ours that none of our transactions made.
type finding struct {
	place

	key     validator.PublicKey
	checked bool // its signature, if it could be read
	secret  bool // it is a deposit signed with the key's secret, and no mere top-up
	final   bool
}

// paidByOthers is what the leader knows of payments by others for keys of ours.
// All keys are looked up once, in turns; from then on only those that the index
// gets events of. It is found anew by each leader.
type paidByOthers struct {
	next  []byte // public key where the sweep goes on
	swept bool
	again map[validator.PublicKey]bool // to be looked up besides
	found map[seenEvent]*finding
}

// lookAt has a key looked up in this pass.
func (s *paidByOthers) lookAt(key validator.PublicKey) {
	if s.again == nil {
		s.again = make(map[validator.PublicKey]bool)
	}
	s.again[key] = true
}

// findPaid looks for payments for our keys that are not ours, whatever the state
// of the key: the same seed may be in use elsewhere. Owners may add to the stake
// of keys that were imported, so those are left out.
func (p *pass) findPaid(ctx context.Context) error {
	s := &p.duty.paid
	added, overflow := p.duty.events.drain()
	view := p.session.View() // after the events: what we sent was logged before
	if !p.searched(view, p.world.genesis) {
		p.duty.paid = paidByOthers{} // it may be ours, from before
		return nil
	}
	if overflow {
		s.next, s.swept = nil, false
	}
	for _, key := range added {
		s.lookAt(key)
	}
	for key := range s.again {
		if err := p.lookUp(view, view.Key(key[:])); err != nil {
			return err
		}
	}
	s.again = nil
	if err := p.sweep(view, sweepPass); err != nil {
		return err
	}
	return p.settleFindings(ctx, view)
}

// sweep looks up so many more keys, until all were.
func (p *pass) sweep(view *fsm.View, most int) error {
	s := &p.duty.paid
	if s.swept {
		return nil
	}
	n := 0
	for k := range view.Keys(s.next) {
		if n == most {
			s.next = k.GetPubkey()
			return nil
		}
		if err := p.lookUp(view, k); err != nil {
			return err
		}
		n++
	}
	s.next, s.swept = nil, true
	return nil
}

// lookUp remembers the events of a key that are not ours.
func (p *pass) lookUp(view *fsm.View, k *fsmpb.Key) error {
	if k == nil || k.GetImported() {
		return nil
	}
	events, err := p.duty.events.seen(validator.PublicKey(k.GetPubkey()))
	if err != nil {
		return err
	}
	s := &p.duty.paid
	for _, event := range events {
		if paidByUs(view, k, event.TxHash) || s.found[event] != nil || len(s.found) >= mostFindings {
			continue
		}
		if s.found == nil {
			s.found = make(map[seenEvent]*finding)
		}
		s.found[event] = &finding{place: event.place, key: event.key}
	}
	return nil
}

// paidByUs reports whether the transaction is one of the key's deposit, or the
// one with which the key was adopted.
func paidByUs(view *fsm.View, k *fsmpb.Key, tx common.Hash) bool {
	return bytes.Equal(k.GetAdopted().GetTxHash(), tx[:]) || tried(view.Deposit(k.GetPubkey()), tx)
}

// settleFindings drops findings that are gone by final proof, and tells in the
// log, once, of those whose signature was checked.
func (p *pass) settleFindings(ctx context.Context, view *fsm.View) error {
	var unchecked []*finding
	asked := 0
	for event, f := range p.duty.paid.found {
		k := view.Key(f.key[:])
		if k == nil || paidByUs(view, k, f.TxHash) {
			delete(p.duty.paid.found, event)
			continue
		}
		if !f.final && p.world.isFinal(f.BlockNumber) && asked < settlePass {
			asked++
			gone, err := p.gone(ctx, f.place)
			if err != nil {
				return err
			}
			if gone {
				delete(p.duty.paid.found, event)
				continue
			}
			f.final = true
		}
		if !f.checked && len(unchecked) < settlePass {
			unchecked = append(unchecked, f)
		}
	}
	return p.checkSignatures(ctx, unchecked)
}

// checkSignatures reads the events again, for the signature, which the index does
// not keep.
func (p *pass) checkSignatures(ctx context.Context, unchecked []*finding) error {
	contract := common.Address(p.duty.cfg.Network.DepositContract)
	logs := make([]logList, len(unchecked))
	calls := make([]rpc.BatchElem, len(unchecked))
	for i, f := range unchecked {
		filter := map[string]any{"blockHash": f.BlockHash, "address": contract, "topics": []common.Hash{depositTopic}}
		calls[i] = rpc.BatchElem{Method: "eth_getLogs", Args: []any{filter}, Result: &logs[i]}
	}
	if err := p.duty.client.batch(ctx, calls); err != nil {
		return err
	}
	for i, f := range unchecked {
		if calls[i].Error != nil && !f.final {
			continue // its block may be gone
		}
		f.checked, f.secret = true, slices.ContainsFunc(logs[i], p.signedDeposit(f))
		p.duty.log.Error("a key of this cluster was paid for by somebody else", "pubkey", f.key, "transaction", f.TxHash,
			"block", f.BlockNumber, "signed_with_the_secret", f.secret, "meaning", f.meaning())
	}
	return nil
}

// signedDeposit tells which log is the finding's, with a full deposit that verifies.
func (p *pass) signedDeposit(f *finding) func(*types.Log) bool {
	return func(log *types.Log) bool {
		if log.TxHash != f.TxHash {
			return false
		}
		event, err := parseDepositEvent(log, p.duty.cfg.Network.DepositContract)
		return err == nil && event.PublicKey == f.key && event.Verify(p.duty.cfg.Network.ForkVersion) == nil
	}
}

func (f *finding) code() Code {
	if f.secret {
		return SeedUsedElsewhere
	}
	return PaidByOthers
}

// meaning says what an operator should make of it.
func (f *finding) meaning() string {
	if f.secret {
		return "the deposit is signed with the key's secret, so the same seed is in use elsewhere, or somebody sent a deposit of ours again; stop the other cluster, or its validators are slashed (keysteward deposits verify lists what was paid)"
	}
	return "it is a top-up, which anybody can make; if nobody you know made it, make sure that the same seed is not in use elsewhere (keysteward deposits verify lists what was paid)"
}

// brake returns why nothing new is signed: somebody else pays for keys of the seed
// just now. Once that is final, the key is retired or has both deposits, and no
// waiting changes anything any more.
func (p *pass) brake() *waiting {
	for _, f := range p.findings() {
		if f.secret && !f.final {
			return waitFor(SeedUsedElsewhere, "somebody else paid for the public key %s of this cluster in transaction %s of block %d: %s; new deposits go on when that block is final",
				f.key, f.TxHash, f.BlockNumber, f.meaning())
		}
	}
	return nil
}

// findings returns those that were checked, oldest first.
func (p *pass) findings() []*finding {
	var list []*finding
	for _, f := range p.duty.paid.found {
		if f.checked {
			list = append(list, f)
		}
	}
	slices.SortFunc(list, func(a, b *finding) int {
		return cmp.Or(cmp.Compare(a.BlockNumber, b.BlockNumber), bytes.Compare(a.key[:], b.key[:]), bytes.Compare(a.TxHash[:], b.TxHash[:]))
	})
	return list
}

// tellPaid adds the reasons that keys were paid for by others, behind all others:
// other deposits go on. A key that is retired needs nobody's attention any more,
// and is only counted.
func (p *pass) tellPaid() {
	view := p.session.View()
	all := map[Code]map[validator.PublicKey]bool{PaidByOthers: {}, SeedUsedElsewhere: {}}
	use, first := map[Code]map[validator.PublicKey]bool{PaidByOthers: {}, SeedUsedElsewhere: {}}, map[Code]*finding{}
	for _, f := range p.findings() {
		all[f.code()][f.key] = true
		if view.Key(f.key[:]).GetState() == fsmpb.KeyState_KEY_STATE_RETIRED {
			continue
		}
		use[f.code()][f.key] = true
		if first[f.code()] == nil {
			first[f.code()] = f
		}
	}
	for _, code := range []Code{SeedUsedElsewhere, PaidByOthers} {
		if f := first[code]; f != nil {
			p.wait(waitFor(code, "somebody else paid for %s of this cluster, the first %s in transaction %s of block %d: %s; deposits of other keys go on",
				plural(len(use[code]), "public key"), f.key, f.TxHash, f.BlockNumber, f.meaning()))
		}
	}
	p.duty.metrics.paidByOthers(len(all[SeedUsedElsewhere]), len(all[PaidByOthers]))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
