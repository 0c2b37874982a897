package fsm

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func (r *replica) wantSpare(n uint32) {
	r.t.Helper()
	r.ok(&fsmpb.SetSpareKeys{Keys: n})
}

// spares checks the spare keys that are free, on their way, and planned.
func (r *replica) spares(free, onTheirWay, planned int) {
	r.t.Helper()
	s := r.View().Spares()
	require.Equal(r.t, []int{free, onTheirWay, planned}, []int{s.Free, s.OnTheirWay, s.Planned}, "free, on their way, planned")
}

func TestPoolIsStocked(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.wantSpare(3)
	require.Equal(t, 3, r.View().SpareShortfall())
	require.Zero(t, r.View().Shortfall())
	r.generate(5)
	r.spares(0, 0, 3)
	require.Zero(t, r.View().SpareShortfall())
	require.Equal(t, 2, r.keysIn(fsmpb.KeyState_KEY_STATE_GENERATED), "no more is planned than wanted")

	r.sign(r.toSign()...)
	r.spares(0, 3, 0)
	r.finish(r.View().Deposit(pubkey(0)).GetPubkey(), pubkey(1))
	r.spares(2, 1, 0)

	// A request takes them, and as many are planned anew.
	require.NotNil(t, r.ask("a", "1", 3).Request)
	r.spares(0, 0, 2)
	require.Equal(t, 1, r.View().SpareShortfall(), "there are no more keys")
	r.finish(pubkey(2))
	require.Len(t, r.View().Allocation("ns", "a").GetKeys(), 3)

	// What a pod gives back counts: it gives up what was only planned.
	r.generate(1)
	r.spares(0, 0, 3)
	r.free("a", proof(), 0)
	r.spares(3, 0, 0)
	require.Equal(t, 3, r.keysIn(fsmpb.KeyState_KEY_STATE_GENERATED))
}

func TestFewerSpareKeys(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.wantSpare(4)
	r.generate(4)
	r.sign(pubkey(0))
	r.wantSpare(2)
	r.spares(0, 1, 1)
	require.Equal(t, [][]byte{pubkey(1)}, r.toSign(), "the newest plans are given up")
	r.wantSpare(0)
	r.spares(0, 1, 0)
	r.finish(pubkey(0))
	r.spares(1, 0, 0)
	r.wantSpare(1)
	r.spares(1, 0, 0)
	r.refused(Invalid, &fsmpb.SetSpareKeys{Keys: MaxSpareKeys + 1})
	require.Equal(t, uint32(1), r.View().DepositStatus().GetSpareKeys())
	r.ok(&fsmpb.SetDepositStatus{Code: "c"})
	require.Equal(t, uint32(1), r.View().DepositStatus().GetSpareKeys(), "a status has no say")
}

// Requests come before spare keys: in what is signed, and in what is had.
func TestRequestsComeBeforeSpares(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.wantSpare(2)
	r.generate(2)
	require.Equal(t, [][]byte{pubkey(0), pubkey(1)}, r.toSign())
	r.ask("a", "1", 3)
	r.spares(0, 0, 0)
	require.Equal(t, []int{1, 2}, []int{r.View().Shortfall(), r.View().SpareShortfall()}, "planned spares are for whoever asks")
	r.generate(3)
	require.Equal(t, [][]byte{pubkey(0), pubkey(1), pubkey(2), pubkey(3), pubkey(4)}, r.toSign())
	r.spares(0, 0, 2)

	r.sign(pubkey(4))
	r.spares(0, 0, 2)
	require.Equal(t, pubkey(4), r.View().Request("ns", "a").GetReserved()[0], "one that is signed out of order is the request's")

	r.withdraw("a")
	r.spares(0, 1, 1)
	r.ask("b", "1", 2)
	reserved := r.View().Request("ns", "b").GetReserved()
	require.Contains(t, reserved, pubkey(4))
	require.Contains(t, reserved, r.toSign()[0], "a request that came later is signed first")
}

// A spare key whose stake was lost is no spare key: another takes its place, and
// nothing is signed for it before somebody needs it.
func TestSpareIsLost(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.wantSpare(1)
	r.generate(2)
	r.sign(pubkey(0))
	r.observe(fsmpb.Observation_KIND_LOST, pubkey(0))
	r.spares(0, 0, 1)
	require.Equal(t, [][]byte{pubkey(1)}, r.toSign())
	c := &fsmpb.SignDeposits{ChainId: 1, Account: testAccount(1).GetAddress(), Deposits: []*fsmpb.SignedDeposit{signed(6, pubkey(0))}}
	r.refused(NotPlanned, c)
}

// One that somebody else paid for is retired, and another takes its place.
func TestSpareIsRetired(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.wantSpare(1)
	r.generate(2)
	r.observe(fsmpb.Observation_KIND_FOREIGN, pubkey(0))
	require.Equal(t, fsmpb.KeyState_KEY_STATE_RETIRED, r.View().Key(pubkey(0)).GetState())
	require.Equal(t, [][]byte{pubkey(1)}, r.toSign())
}

// An imported key that is free counts.
func TestImportedKeyIsASpare(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.wantSpare(2)
	r.generate(2)
	r.ok(&fsmpb.ImportKeys{Keys: []*fsmpb.ImportedKey{{Pubkey: pubkey(9), Sealed: under(1, "x")}}})
	r.spares(0, 0, 2)
	r.ok(&fsmpb.ConfirmStopped{Pubkey: pubkey(9), Fence: r.View().Key(pubkey(9)).GetFence(), Proof: proof()})
	r.spares(1, 0, 1)
}

// checkSpares counts with plain sets.
func (l *ledger) checkSpares(t rapid.TB, after *world) {
	t.Helper()
	have, planned, generated := 0, 0, 0
	for pubkey, k := range after.keys {
		d := after.deposits[pubkey]
		switch {
		case k.GetState() == fsmpb.KeyState_KEY_STATE_GENERATED:
			generated++
		case k.GetReservedBy() != "":
		case k.GetState() == fsmpb.KeyState_KEY_STATE_FREE:
			have++
		case k.GetState() != fsmpb.KeyState_KEY_STATE_DEPOSITING:
		case d.GetState() != fsmpb.DepositState_DEPOSIT_STATE_PLANNED:
			have++
		case len(d.GetLosses()) == 0:
			planned++
		}
	}
	if planned > 0 {
		require.LessOrEqual(t, have+planned, l.spares, "planned for nobody, and not wanted")
	}
	if have+planned < l.spares {
		require.Zero(t, generated, "%d spare keys are wanted, there are %d", l.spares, have+planned)
	}
}

func drawSpares(t *rapid.T, _ *world) proto.Message {
	return &fsmpb.SetSpareKeys{Keys: rapid.SampledFrom([]uint32{0, 0, 1, 2, 3, 5, MaxSpareKeys + 1}).Draw(t, "spares")}
}

// The check finds spare keys that nobody wants, and those that are missing.
func TestCheckFindsSpares(t *testing.T) {
	t.Parallel()
	for wanted, found := range map[uint32]string{1: "2 deposits are planned for nobody", 3: "1 spare keys are missing"} {
		r := newReplica(t)
		r.wantSpare(2)
		r.generate(3)
		txn := r.store.Load().db.Txn(true)
		mustInsert(txn, tableStatus, &fsmpb.DepositStatus{SpareKeys: wanted})
		txn.Commit()
		require.ErrorContains(t, r.View().Check(), found)
	}
}
