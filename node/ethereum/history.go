package ethereum

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// history is what the replicated state knows of the chain, where the chain agrees.
type history struct {
	known bool // an account was opened on it
	// confirmed is the newest block that the state knows to be final, and that the
	// chain holds; 0 if there is none.
	confirmed uint64
}

// landmark is a block that was final.
type landmark struct {
	number uint64
	hash   common.Hash
	what   string
	now    *block // in its place
}

// historian checks what a chain has become against what was final on it. A chain
// that was reset begins with the same first block.
type historian struct {
	finals uint64 // deposits that were final when newest was looked for
	newest *fsmpb.Deposit
}

// check makes sure that the chain still holds what was final, and as many blocks
// as were final when anything was signed. Whatever else it shows counts for nothing.
func (m *historian) check(ctx context.Context, c *client, chainID uint64, view *fsm.View, e extent) (history, error) {
	h := history{}
	for account := range view.Accounts() {
		h.known = h.known || account.GetChainId() == chainID
	}
	if !h.known {
		return h, nil
	}
	if least := signedAfter(view, chainID); least > uint64(e.head.Number) {
		return h, forgotten(c.host, e, fmt.Sprintf("block %d, which was final when deposits were signed", least))
	}
	marks := m.landmarks(chainID, view, e)
	calls := make([]rpc.BatchElem, len(marks))
	for i := range marks {
		calls[i] = getBlock(marks[i].number, &marks[i].now)
	}
	if err := c.all(ctx, calls...); err != nil {
		return h, err
	}
	for _, mark := range marks {
		text := fmt.Sprintf("block %d with hash %s, %s", mark.number, mark.hash, mark.what)
		switch {
		case mark.now == nil && mark.number > uint64(e.head.Number):
			return h, forgotten(c.host, e, text)
		case mark.now == nil:
			return h, waitFor(ChainUnreachable, "the execution client at %s does not show its block %d", c.host, mark.number)
		case mark.now.Hash != mark.hash:
			return h, waitFor(ChainReset, "the execution client at %s is on a chain without %s: it was reset, or is another one; nothing is signed or sent, and no deposit is taken for lost", c.host, text)
		}
		h.confirmed = max(h.confirmed, mark.number)
	}
	return h, nil
}

// forgotten tells of a chain that is shorter than it was.
func forgotten(host string, e extent, what string) *waiting {
	return waitFor(ChainReset, "the execution client at %s is on a chain that ends with block %d and lacks %s: it was reset, or the client has not caught up; nothing is signed or sent, and no deposit is taken for lost",
		host, uint64(e.head.Number), what)
}

// signedAfter is the newest block that was final when a deposit under way was signed.
func signedAfter(view *fsm.View, chainID uint64) (number uint64) {
	for d := range open(view) {
		if d.GetChainId() == chainID {
			for _, a := range d.GetAttempts() {
				number = max(number, a.GetFinalBlock())
			}
		}
	}
	return number
}

// landmarks are the blocks that the state knows to be final: that of the newest
// final deposit, and the one that was recorded.
func (m *historian) landmarks(chainID uint64, view *fsm.View, e extent) []landmark {
	var marks []landmark
	if b := view.Meta().GetFinalBlock(); b.GetChainId() == chainID && bytes.Equal(b.GetGenesisHash(), e.genesis.Hash[:]) {
		marks = append(marks, landmark{number: b.GetNumber(), hash: common.Hash(b.GetHash()), what: "which was final"})
	}
	if d := m.newestFinal(view, chainID); d != nil {
		marks = append(marks, landmark{
			number: d.GetBlockNumber(), hash: common.Hash(d.GetBlockHash()),
			what: fmt.Sprintf("in which the deposit for 0x%x was final", d.GetPubkey()),
		})
	}
	return marks
}

// newestFinal returns the final deposit in the newest block of the chain. It
// looks through all deposits only when there are more final ones than before.
func (m *historian) newestFinal(view *fsm.View, chainID uint64) *fsmpb.Deposit {
	finals := view.Meta().GetDepositCounts()[fsmpb.DepositState_DEPOSIT_STATE_FINAL]
	if finals == m.finals {
		return m.newest
	}
	m.finals, m.newest = finals, nil
	for d := range view.Deposits(nil) {
		if d.GetState() == fsmpb.DepositState_DEPOSIT_STATE_FINAL && d.GetChainId() == chainID &&
			(m.newest == nil || d.GetBlockNumber() > m.newest.GetBlockNumber()) {
			m.newest = d
		}
	}
	return m.newest
}

// finalPause is how many blocks lie between those that are recorded as final.
const finalPause = 32

// recordFinal has a final block recorded before anything is signed, so that every
// later leader, and every node's index, knows this chain from one that begins the
// same way.
func (p *pass) recordFinal(ctx context.Context) error {
	view, final := p.session.View(), p.world.final
	if !p.world.hasFinal || p.account(view) == nil || !hasWork(view) {
		return nil
	}
	genesis := p.world.genesis.Hash
	old := view.Meta().GetFinalBlock()
	if old.GetChainId() == p.duty.cfg.Network.ChainID && bytes.Equal(old.GetGenesisHash(), genesis[:]) && final < old.GetNumber()+finalPause {
		return nil
	}
	var now *block
	if err := p.duty.client.all(ctx, getBlock(final, &now)); err != nil {
		return err
	}
	if now == nil {
		return waitFor(ChainUnreachable, "the execution client at %s does not show its final block %d", p.duty.client.host, final)
	}
	_, err := p.session.Propose(ctx, &fsmpb.Command{Body: &fsmpb.Command_SeeFinal{SeeFinal: &fsmpb.SeeFinal{Block: &fsmpb.FinalBlock{
		ChainId: p.duty.cfg.Network.ChainID, GenesisHash: genesis[:], Number: final, Hash: now.Hash[:],
	}}}})
	if errors.Is(err, fsm.Refused(fsm.ForeignChain)) {
		return waitFor(ForeignGenesis, "final block %d: %v", final, err)
	}
	if err != nil {
		return fmt.Errorf("record the final block %d: %w", final, err)
	}
	return nil
}
