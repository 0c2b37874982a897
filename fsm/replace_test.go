package fsm

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// replaced has one deposit on its way with two attempts.
func replaced(t *testing.T) (r *replica, key []byte, first, second *fsmpb.Attempt) {
	t.Helper()
	r, key = at(t, fsmpb.DepositState_DEPOSIT_STATE_SENT)
	first = r.View().Deposit(key).GetAttempts()[0]
	second = dearer(first)
	r.ok(&fsmpb.ReplaceDeposit{Pubkey: key, Attempt: second})
	require.Contains(t, r.actions(), "deposit.replace by tester")
	return r, key, first, second
}

func TestReplaceDepositKeepsEveryAttempt(t *testing.T) {
	t.Parallel()
	r, key, first, second := replaced(t)
	attempts := r.View().Deposit(key).GetAttempts()
	require.Len(t, attempts, 2)
	require.True(t, proto.Equal(first, attempts[0]))
	require.True(t, proto.Equal(second, attempts[1]))
	require.EqualValues(t, 6, r.account().GetNextNonce(), "a replacement uses up no nonce")
}

func TestEitherAttemptMayLand(t *testing.T) {
	t.Parallel()
	for name, pick := range map[string]int{"the first": 0, "the second": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, key, _, _ := replaced(t)
			o := r.observation(mined, key)
			o.TxHash = r.View().Deposit(key).GetAttempts()[pick].GetTxHash()
			r.ok(&fsmpb.ObserveDeposits{Observations: []*fsmpb.Observation{o}})
			r.observe(final, key)
			d := r.View().Deposit(key)
			require.Equal(t, fsmpb.DepositState_DEPOSIT_STATE_FINAL, d.GetState())
			require.Equal(t, o.GetTxHash(), d.GetTxHash())
			require.Len(t, d.GetAttempts(), 2)
			require.Equal(t, "1", r.holder(key))
		})
	}
}

func TestAllAttemptsAreLostTogether(t *testing.T) {
	t.Parallel()
	r, key, first, second := replaced(t)
	r.observe(lost, key)
	d := r.View().Deposit(key)
	require.Equal(t, fsmpb.DepositState_DEPOSIT_STATE_PLANNED, d.GetState())
	require.Len(t, d.GetLosses(), 2)
	require.Equal(t, first.GetTxHash(), d.GetLosses()[0].GetTxHash())
	require.Equal(t, second.GetTxHash(), d.GetLosses()[1].GetTxHash())
	r.pay()
	require.EqualValues(t, 6, r.View().Deposit(key).GetAttempts()[0].GetNonce())
}

func TestReplaceDepositRefused(t *testing.T) {
	t.Parallel()
	r, key, first, second := replaced(t)
	odd := func(change func(*fsmpb.Attempt)) *fsmpb.ReplaceDeposit {
		a := dearer(second)
		change(a)
		return &fsmpb.ReplaceDeposit{Pubkey: key, Attempt: a}
	}
	for name, x := range map[string]struct {
		code Code
		c    *fsmpb.ReplaceDeposit
	}{
		"late repeat":    {Invalid, &fsmpb.ReplaceDeposit{Pubkey: key, Attempt: second}},
		"next nonce":     {StaleNonce, odd(func(a *fsmpb.Attempt) { a.Nonce++ })},
		"same cap":       {Invalid, odd(func(a *fsmpb.Attempt) { a.FeeCapWei = second.GetFeeCapWei() })},
		"same tip":       {Invalid, odd(func(a *fsmpb.Attempt) { a.TipWei = second.GetTipWei() })},
		"known bytes":    {Invalid, odd(func(a *fsmpb.Attempt) { a.TxHash = first.GetTxHash() })},
		"no bytes":       {Invalid, odd(func(a *fsmpb.Attempt) { a.Raw = nil })},
		"too many bytes": {Invalid, odd(func(a *fsmpb.Attempt) { a.Raw = make([]byte, maxRaw+1) })},
		"no hash":        {Invalid, odd(func(a *fsmpb.Attempt) { a.TxHash = nil })},
		"no attempt":     {StaleNonce, &fsmpb.ReplaceDeposit{Pubkey: key}},
		"no such key":    {NotPending, &fsmpb.ReplaceDeposit{Pubkey: pubkey(99), Attempt: dearer(second)}},
		"no key":         {NotPending, &fsmpb.ReplaceDeposit{Attempt: dearer(second)}},
	} {
		t.Log(name)
		r.refused(x.code, x.c)
	}
	for range MaxAttempts - 2 {
		second = dearer(second)
		r.ok(&fsmpb.ReplaceDeposit{Pubkey: key, Attempt: second})
	}
	r.refused(Invalid, &fsmpb.ReplaceDeposit{Pubkey: key, Attempt: dearer(second)})
}

func TestReplaceDepositOnlyWhileItIsOnItsWay(t *testing.T) {
	t.Parallel()
	for state, can := range map[fsmpb.DepositState]bool{
		fsmpb.DepositState_DEPOSIT_STATE_PLANNED: false, fsmpb.DepositState_DEPOSIT_STATE_SIGNED: true,
		fsmpb.DepositState_DEPOSIT_STATE_SENT: true, fsmpb.DepositState_DEPOSIT_STATE_MINED: false,
		fsmpb.DepositState_DEPOSIT_STATE_FINAL: false,
	} {
		t.Run(state.String(), func(t *testing.T) {
			t.Parallel()
			r, key := at(t, state)
			c := &fsmpb.ReplaceDeposit{Pubkey: key, Attempt: dearer(signed(5, key).GetAttempt())}
			if can {
				r.ok(c)
				return
			}
			r.refused(NotPending, c)
		})
	}
}
