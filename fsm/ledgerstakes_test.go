package fsm

import (
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// purse is what is known of a funding account that somebody else used.
type purse struct {
	stopped bool
	seen    uint64 // nonces below it, at the time of the stop
	resumed uint64 // nonces below it may be given up
	skipped uint64 // nonces that were given up
}

func (l *ledger) purse(chainID uint64, address []byte) *purse {
	name := string(accountKey(chainID, address))
	if l.accounts[name] == nil {
		l.accounts[name] = &purse{}
	}
	return l.accounts[name]
}

func (p *purse) stop(nonce uint64) {
	if !p.stopped || nonce > p.seen {
		p.stopped, p.seen = true, nonce
	}
}

// account follows what is done about accounts and the fees of their transactions.
func (l *ledger) account(t rapid.TB, c *fsmpb.Command, before *world) {
	t.Helper()
	switch {
	case c.GetStopAccount() != nil:
		s := c.GetStopAccount()
		l.purse(s.GetChainId(), s.GetAccount()).stop(s.GetStop().GetNonce())
	case c.GetResumeDeposits() != nil:
		r := c.GetResumeDeposits()
		if p := l.purse(r.GetChainId(), r.GetAccount()); p.stopped {
			require.LessOrEqual(t, p.seen, r.GetNonce(), "resumed in spite of what the operator did not see")
			p.stopped, p.resumed = false, max(p.resumed, p.seen)
		}
	case c.GetAdvanceNonce() != nil:
		a := c.GetAdvanceNonce()
		p := l.purse(a.GetChainId(), a.GetAccount())
		require.False(t, p.stopped, "advanced while stopped")
		require.LessOrEqual(t, a.GetTo(), p.resumed, "advanced further than an operator knew")
		require.Equal(t, a.GetFrom(), before.accounts[string(accountKey(a.GetChainId(), a.GetAccount()))].GetNextNonce())
		p.skipped += a.GetTo() - a.GetFrom()
	case c.GetReplaceDeposit() != nil:
		r := c.GetReplaceDeposit()
		p := l.deposits[string(r.GetPubkey())]
		require.Equal(t, p.nonce, r.GetAttempt().GetNonce(), "replaced at another nonce: two stakes for one key")
		require.Contains(t, []fsmpb.DepositState{fsmpb.DepositState_DEPOSIT_STATE_SIGNED, fsmpb.DepositState_DEPOSIT_STATE_SENT}, p.state)
		p.hashes[string(r.GetAttempt().GetTxHash())] = true
	}
}

// checkStops: an account is stopped from the moment that somebody else used it
// until an operator resumes.
func (l *ledger) checkStops(t rapid.TB, after *world) {
	t.Helper()
	for name, a := range after.accounts {
		p := l.accounts[name]
		require.Equal(t, p != nil && p.stopped, a.GetStop() != nil)
	}
}

// observe is the table of a deposit's moves.
func (l *ledger) observe(o *fsmpb.Observation, before *world) {
	p := l.deposits[string(o.GetPubkey())]
	if o.GetKind() == fsmpb.Observation_KIND_FOREIGN {
		planned := p == nil && before.deposits[string(o.GetPubkey())] != nil
		if planned || p != nil && p.state == fsmpb.DepositState_DEPOSIT_STATE_PLANNED {
			l.end(string(o.GetPubkey()), RetiredForeign)
		}
		return
	}
	if p == nil {
		return
	}
	ours, block := p.hashes[string(o.GetTxHash())], string(o.GetBlockHash())
	pending := p.state == fsmpb.DepositState_DEPOSIT_STATE_SIGNED || p.state == fsmpb.DepositState_DEPOSIT_STATE_SENT
	mined := p.state == fsmpb.DepositState_DEPOSIT_STATE_MINED
	switch {
	case o.GetKind() == fsmpb.Observation_KIND_SENT && pending && ours:
		p.state = fsmpb.DepositState_DEPOSIT_STATE_SENT
	case o.GetKind() == fsmpb.Observation_KIND_MINED && (pending || mined) && ours && block != "":
		p.state, p.block = fsmpb.DepositState_DEPOSIT_STATE_MINED, block
	case o.GetKind() == fsmpb.Observation_KIND_UNMINED && mined && block == p.block:
		p.state, p.block = fsmpb.DepositState_DEPOSIT_STATE_SENT, ""
	case o.GetKind() == fsmpb.Observation_KIND_FINAL && mined && block == p.block:
		p.state = fsmpb.DepositState_DEPOSIT_STATE_FINAL
	case o.GetKind() == fsmpb.Observation_KIND_LOST && pending && ours:
		p.losses += len(p.hashes)
		p.rounds++
		p.state, p.hashes = fsmpb.DepositState_DEPOSIT_STATE_PLANNED, nil
		if o.GetForeignTransaction() {
			p.purse.stop(p.nonce + 1)
		}
	}
}

func checkCounts(t rapid.TB, after *world) {
	t.Helper()
	keys, deposits := make([]uint64, 7), make([]uint64, 6)
	for _, k := range after.keys {
		keys[k.GetState()]++
	}
	for _, d := range after.deposits {
		deposits[d.GetState()]++
	}
	require.Equal(t, keys, after.meta.GetKeyCounts())
	require.Equal(t, deposits, after.meta.GetDepositCounts())
}
