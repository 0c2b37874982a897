package fsm

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func (r *replica) account() *fsmpb.Account {
	return r.View().Account(1, testAccount(1).GetAddress())
}

// resume is an operator's word about the stop that there is.
func (r *replica) resume() *fsmpb.ResumeDeposits {
	return &fsmpb.ResumeDeposits{ChainId: 1, Account: testAccount(1).GetAddress(), Nonce: r.account().GetStop().GetNonce()}
}

func stopAt(nonce uint64) *fsmpb.StopAccount {
	return &fsmpb.StopAccount{
		ChainId: 1, Account: testAccount(1).GetAddress(), Stop: &fsmpb.Stop{Reason: "somebody else", Nonce: nonce},
	}
}

func advance(from, to uint64) *fsmpb.AdvanceNonce {
	return &fsmpb.AdvanceNonce{ChainId: 1, Account: testAccount(1).GetAddress(), From: from, To: to}
}

// actions lists the audited actions with who did them.
func (r *replica) actions() []string {
	var list []string
	for a := range r.View().Audit(0) {
		list = append(list, a.GetAction()+" by "+a.GetCaller().GetName())
	}
	return list
}

func TestStoppedAccountSignsNothingUntilResumed(t *testing.T) {
	t.Parallel()
	r, keys := planned(t, 1)
	sign := &fsmpb.SignDeposits{ChainId: 1, Account: testAccount(1).GetAddress(), Deposits: []*fsmpb.SignedDeposit{signed(5, keys[0])}}
	r.ok(stopAt(8))
	require.Equal(t, "somebody else", r.account().GetStop().GetReason())
	since := r.account().GetStop().GetSinceWallMs()
	r.refused(AccountStopped, sign)
	r.ok(&fsmpb.SetDepositStatus{}) // words end no stop
	r.refused(AccountStopped, sign)
	r.refused(AccountStopped, advance(5, 8))

	r.ok(stopAt(9))
	require.EqualValues(t, 9, r.account().GetStop().GetNonce(), "more was seen")
	require.Equal(t, since, r.account().GetStop().GetSinceWallMs())
	r.ok(stopAt(6))
	require.EqualValues(t, 9, r.account().GetStop().GetNonce(), "less was seen")

	r.ok(r.resume())
	require.Nil(t, r.account().GetStop())
	require.Contains(t, r.actions(), "deposits.resume by tester")
	before := digest(r.View())
	r.ok(r.resume())
	require.Equal(t, before, digest(r.View()), "nothing is stopped")
	r.refused(StaleNonce, stopAt(9)) // the operator knows

	seen := &fsmpb.ResumeDeposits{ChainId: 1, Account: testAccount(1).GetAddress(), Nonce: 9}
	r.ok(stopAt(10))
	r.refused(StaleNonce, seen) // a repeat of the word is not about what was seen since
	require.NotNil(t, r.account().GetStop())
	r.ok(r.resume())
	seen.ChainId = 3
	r.refused(NotFound, seen)
	r.ok(sign)
}

func TestStopIsOfOneAccount(t *testing.T) {
	t.Parallel()
	r, keys := planned(t, 1)
	other := testAccount(1)
	other.Address = bytes.Repeat([]byte{8}, 20)
	r.ok(&fsmpb.OpenAccount{Account: other})
	r.ok(stopAt(8))
	r.ok(&fsmpb.SignDeposits{ChainId: 1, Account: other.GetAddress(), Deposits: []*fsmpb.SignedDeposit{signed(5, keys[0])}})
	require.NotNil(t, r.account().GetStop())
}

func TestAdvanceNonceUsesUpTheResume(t *testing.T) {
	t.Parallel()
	r, keys := planned(t, 2)
	r.refused(AccountStopped, advance(5, 6))
	r.ok(stopAt(8))
	r.ok(r.resume())
	for name, x := range map[string]struct {
		code Code
		c    *fsmpb.AdvanceNonce
	}{
		"not the next nonce":  {StaleNonce, advance(4, 6)},
		"beyond the next one": {StaleNonce, advance(6, 8)},
		"to nowhere":          {Invalid, advance(5, 5)},
		"back":                {Invalid, advance(5, 4)},
		"more than was known": {AccountStopped, advance(5, 9)},
		"other chain":         {NotFound, &fsmpb.AdvanceNonce{ChainId: 2, Account: testAccount(2).GetAddress(), From: 5, To: 6}},
	} {
		t.Log(name)
		r.refused(x.code, x.c)
	}
	r.ok(advance(5, 7))
	r.refused(StaleNonce, advance(5, 7)) // a late repeat
	r.ok(advance(7, 8))
	require.EqualValues(t, 8, r.account().GetNextNonce())
	require.Zero(t, r.account().GetResumedNonce())
	r.refused(AccountStopped, advance(8, 9)) // each resume counts once
	r.sign(keys...)
	require.EqualValues(t, 10, r.account().GetNextNonce())
	require.EqualValues(t, 5, r.account().GetFirstNonce())
	var given []uint64
	for _, g := range r.account().GetGivenUp() {
		given = append(given, g.GetFirst(), g.GetLast())
	}
	require.Equal(t, []uint64{5, 6, 7, 7}, given)
}

// Bytes that were signed before the nonces were given up are refused: their
// nonce is none of the account's next ones any more.
func TestAdvanceNonceAgainstASignatureOnItsWay(t *testing.T) {
	t.Parallel()
	late := func(key []byte) *fsmpb.SignDeposits {
		return &fsmpb.SignDeposits{ChainId: 1, Account: testAccount(1).GetAddress(), Deposits: []*fsmpb.SignedDeposit{signed(5, key)}}
	}
	t.Run("the advance comes first", func(t *testing.T) {
		t.Parallel()
		r, keys := planned(t, 1)
		r.ok(stopAt(6))
		r.ok(r.resume())
		r.ok(advance(5, 6))
		r.refused(StaleNonce, late(keys[0]))
	})
	t.Run("the signature comes first", func(t *testing.T) {
		t.Parallel()
		r, keys := planned(t, 1)
		r.ok(stopAt(7))
		r.ok(r.resume())
		r.ok(late(keys[0]))
		r.refused(StaleNonce, advance(5, 7))
	})
	t.Run("a leader of an earlier session", func(t *testing.T) {
		t.Parallel()
		r, _ := planned(t, 1)
		r.ok(stopAt(7))
		r.ok(r.resume())
		r.term++
		r.ok(&fsmpb.BeginSession{NodeId: "n2"})
		for _, body := range []*fsmpb.Command{command(1, 1, advance(5, 7)), command(1, 1, stopAt(9)), command(1, 1, r.resume())} {
			require.ErrorIs(t, r.apply(body)[0].Err(), Refused(StaleSession))
		}
	})
}

func TestStopAccountRefused(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.refused(NotFound, &fsmpb.StopAccount{ChainId: 3, Account: testAccount(1).GetAddress(), Stop: stopAt(9).GetStop()})
	r.refused(StaleNonce, stopAt(5))
	r.refused(Invalid, stopAt(1<<63))
	r.refused(Invalid, &fsmpb.StopAccount{ChainId: 1, Account: testAccount(1).GetAddress(), Stop: &fsmpb.Stop{Nonce: 9}})
	r.ok(&fsmpb.OpenAccount{Account: &fsmpb.Account{
		ChainId: 4, GenesisHash: hash32(1), Address: testAccount(1).GetAddress(), ResumedNonce: 99, Stop: stopAt(9).GetStop(),
	}})
	opened := r.View().Account(4, testAccount(1).GetAddress())
	require.Zero(t, opened.GetResumedNonce(), "only an operator resumes")
	require.Nil(t, opened.GetStop())
}

// A loss to a transaction of somebody else stops the account of that deposit.
func TestLossStopsItsAccount(t *testing.T) {
	t.Parallel()
	r, key := at(t, fsmpb.DepositState_DEPOSIT_STATE_SENT)
	o := r.observation(lost, key)
	o.ForeignTransaction = true
	r.ok(&fsmpb.ObserveDeposits{Observations: []*fsmpb.Observation{o, o}})
	require.Equal(t, "seen", r.account().GetStop().GetReason())
	r.refused(AccountStopped, &fsmpb.SignDeposits{ChainId: 1, Account: testAccount(1).GetAddress(), Deposits: []*fsmpb.SignedDeposit{signed(6, key)}})
	r.ok(r.resume())
	r.ok(&fsmpb.ObserveDeposits{Observations: []*fsmpb.Observation{o}})
	require.Nil(t, r.account().GetStop(), "a late repeat")
	r.refused(AccountStopped, advance(6, 7)) // its own nonce was none to give up
	r.pay()
	require.Equal(t, "1", r.holder(key))
}

func TestForeignDepositRetiresTheKey(t *testing.T) {
	t.Parallel()
	r, keys := planned(t, 3)
	r.sign(keys[0])
	r.observe(foreign, keys[0], keys[1], pubkey(99))
	require.Equal(t, fsmpb.DepositState_DEPOSIT_STATE_SIGNED, r.View().Deposit(keys[0]).GetState(), "its bytes may be anywhere")
	k := r.View().Key(keys[1])
	require.Equal(t, fsmpb.KeyState_KEY_STATE_RETIRED, k.GetState())
	require.Equal(t, RetiredForeign, k.GetRetiredReason())
	require.Equal(t, "seen", k.GetRetiredDetail())
	require.Nil(t, r.View().Deposit(keys[1]))
	require.Contains(t, r.actions(), "key.retire by tester")
	request := r.View().Request("ns", "a")
	require.EqualValues(t, 3, request.GetWant())
	require.Equal(t, [][]byte{keys[0], keys[2]}, request.GetReserved())
	require.Equal(t, 1, r.View().Shortfall(), "the request lacks a key")

	r.generate(1)
	require.Equal(t, 0, r.View().Shortfall())
	r.sign(r.toSign()...)
	r.finish(r.View().Request("ns", "a").GetReserved()...)
	held := r.View().Allocation("ns", "a").GetKeys()
	require.Len(t, held, 3)
	require.False(t, slices.ContainsFunc(held, func(b []byte) bool { return bytes.Equal(b, keys[1]) }))

	before := digest(r.View())
	r.observe(foreign, keys...)
	require.Equal(t, before, digest(r.View()), "late, or about keys that are paid for")
}

// The next key comes from the pool if that has one, and a request that lacked
// nothing else is granted at once.
func TestForeignDepositTakesTheNextKeyOfThePool(t *testing.T) {
	t.Parallel()
	r, keys := planned(t, 1)
	r.generate(1)
	r.observe(foreign, keys[0])
	require.Equal(t, [][]byte{pubkey(1)}, r.View().Request("ns", "a").GetReserved(), "a spare key")
	r.withdraw("a")
	stock := r.stock(1)
	require.Equal(t, stock, r.ask("b", "1", 1).Allocation.GetKeys())
}

// A deposit that was lost before stays in the account of the nonces.
func TestForeignDepositAfterALoss(t *testing.T) {
	t.Parallel()
	r, key := at(t, fsmpb.DepositState_DEPOSIT_STATE_SENT)
	r.observe(lost, key)
	r.observe(foreign, key)
	require.Equal(t, fsmpb.KeyState_KEY_STATE_RETIRED, r.View().Key(key).GetState())
	require.Len(t, r.View().Deposit(key).GetLosses(), 1)
	require.Empty(t, r.toSign())
	r.refused(NotPlanned, &fsmpb.SignDeposits{ChainId: 1, Account: testAccount(1).GetAddress(), Deposits: []*fsmpb.SignedDeposit{signed(6, key)}})
	r.generate(1)
	r.pay()
	require.NotEqual(t, [][]byte{key}, r.View().Allocation("ns", "a").GetKeys())
}
