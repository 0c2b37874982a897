package fsm

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// pass lets cluster time pass, in minutes.
func (r *replica) pass(minutes int) {
	r.t.Helper()
	for range minutes {
		require.NoError(r.t, r.do(&fsmpb.Tick{ElapsedMs: 60_000}).Err())
	}
}

func (r *replica) today() int { return len(slices.Collect(r.View().SignedToday())) }

// Deposits count for a day of cluster time from when they were signed, each once.
func TestSignedToday(t *testing.T) {
	t.Parallel()
	const day = 24 * 60
	r := newReplica(t)
	r.ask("a", "1", 4)
	r.generate(4)
	keys := r.toSign()
	require.Zero(t, r.today())
	r.pass(2 * day)
	r.sign(keys[0], keys[1])
	require.Equal(t, 2, r.today())
	r.pass(60)
	r.sign(keys[2])
	r.finish(keys[0])
	require.Equal(t, 3, r.today(), "a final deposit was paid all the same")

	r.ok(&fsmpb.ReplaceDeposit{Pubkey: keys[2], Attempt: dearer(r.View().Deposit(keys[2]).GetAttempts()[0])})
	require.Equal(t, 3, r.today(), "a replacement is the same deposit")
	r.observe(fsmpb.Observation_KIND_LOST, keys[2])
	require.Equal(t, 2, r.today(), "what is lost was not paid")
	r.pass(60)
	r.sign(keys[2])
	require.Equal(t, 3, r.today(), "signed anew it counts once")

	r.pass(day - 120 - 1)
	require.Equal(t, 3, r.today())
	r.pass(1)
	require.Equal(t, 1, r.today())
	r.pass(119)
	require.Equal(t, 1, r.today())
	r.pass(1)
	require.Zero(t, r.today())
}

func TestFunds(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	funds := func(balance string) *fsmpb.Funds {
		return &fsmpb.Funds{ChainId: 1, Account: testAccount(1).GetAddress(), BalanceWei: balance, Waiting: 2}
	}
	r.ok(&fsmpb.SetDepositStatus{Code: "a", Detail: "d", Funds: funds("5")})
	first := r.View().DepositStatus()
	require.Equal(t, "5", first.GetFunds().GetBalanceWei())
	require.Equal(t, r.wall, first.GetFunds().GetWallMs())

	r.ok(&fsmpb.SetDepositStatus{Code: "a", Detail: "d", Funds: funds("5")})
	require.Same(t, first, r.View().DepositStatus(), "the same again changes nothing")
	r.ok(&fsmpb.SetDepositStatus{Code: "a", Detail: "d", Funds: funds("6")})
	require.Equal(t, first.GetSinceWallMs(), r.View().DepositStatus().GetSinceWallMs())
	require.Greater(t, r.View().DepositStatus().GetFunds().GetWallMs(), first.GetFunds().GetWallMs())
	r.ok(&fsmpb.SetDepositStatus{})
	require.Equal(t, "6", r.View().DepositStatus().GetFunds().GetBalanceWei(), "what was seen last stays")

	for _, bad := range []*fsmpb.Funds{
		{Account: []byte{1}}, {BalanceWei: "-1"}, {GasPriceWei: "0x1"}, {MissingWei: string(make([]byte, 79))},
	} {
		r.refused(Invalid, &fsmpb.SetDepositStatus{Funds: bad})
	}
}
