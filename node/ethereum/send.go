package ethereum

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"
	"go.opentelemetry.io/otel/trace"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// outgoing is a logged transaction that the client does not know.
type outgoing struct {
	deposit *fsmpb.Deposit
	attempt *fsmpb.Attempt
}

// send gives the client the logged bytes of every deposit that it does not know,
// in the order of their nonces. The bytes come from the applied state and from
// nowhere else, so whoever sends them late, or again, does no harm: the chain
// runs one transaction per nonce.
func (p *pass) send(ctx context.Context) error {
	out := p.outgoing()
	calls := make([]rpc.BatchElem, len(out))
	hashes := make([]common.Hash, len(out))
	for i, o := range out {
		calls[i] = rpc.BatchElem{
			Method: "eth_sendRawTransaction", Args: []any{hexutil.Bytes(o.attempt.GetRaw())}, Result: &hashes[i],
		}
	}
	began := time.Now()
	if err := p.duty.client.batch(ctx, calls); err != nil {
		return err
	}
	p.spread(ctx, out)
	var found []*fsmpb.Observation
	var taken []paidFor
	for i, o := range out {
		p.settled[common.Hash(o.attempt.GetTxHash())] = true // once in a pass is enough
		switch err := calls[i].Error; {
		case err == nil || isKnown(err):
			found = append(found, sent(o.deposit.GetPubkey(), o.attempt))
			taken = append(taken, paidFor{pubkey: o.deposit.GetPubkey(), attempt: o.attempt})
		case !isUsedNonce(err):
			p.wait(waitFor(SendRefused, "the execution client at %s does not take the deposit for 0x%x (nonce %d): %v",
				p.duty.client.host, o.deposit.GetPubkey(), o.attempt.GetNonce(), err))
		}
	}
	p.attribute(ctx, "deposit sent", trace.SpanKindClient, began, taken)
	reachSent(found)
	return p.observe(ctx, found)
}

// outgoing returns the newest attempt of every deposit that is signed or sent and
// that nobody has seen yet.
func (p *pass) outgoing() []outgoing {
	var out []outgoing
	view := p.session.View()
	for _, state := range []fsmpb.DepositState{fsmpb.DepositState_DEPOSIT_STATE_SIGNED, fsmpb.DepositState_DEPOSIT_STATE_SENT} {
		for d := range view.DepositsIn(state) {
			attempt := d.GetAttempts()[len(d.GetAttempts())-1]
			if p.onChain(d) && !p.settled[common.Hash(attempt.GetTxHash())] {
				out = append(out, outgoing{deposit: d, attempt: attempt})
			}
		}
	}
	slices.SortFunc(out, func(a, b outgoing) int { return cmp.Compare(a.attempt.GetNonce(), b.attempt.GetNonce()) })
	return out
}

// The words differ between execution clients. Nothing but the status depends on
// them: what became of a transaction is read from receipts.
var (
	knownWords     = []string{"already known", "alreadyknown", "known transaction", "already imported"}
	usedNonceWords = []string{"nonce too low", "nonce is too low", "oldnonce", "nonce has already been used"}
)

func isKnown(err error) bool { return says(err, knownWords) }

func isUsedNonce(err error) bool { return says(err, usedNonceWords) }

func says(err error, words []string) bool {
	text := strings.ToLower(err.Error())
	return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(text, word) })
}
