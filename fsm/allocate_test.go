package fsm

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestAllocateTakesOwnThenPoolThenLooseThenNew(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	stock := r.stock(3)
	own := r.ask("a", "1", 1).Allocation.GetKeys()
	require.Equal(t, stock[:1], own, "the oldest free key")

	r.generate(1)
	r.ask("b", "1", 4) // two of the pool, the spare one, one that does not exist yet
	require.Equal(t, 1, r.View().Shortfall())
	r.generate(1)
	loose := r.toSign()
	require.Len(t, loose, 2)
	r.sign(loose[:1]...)
	r.withdraw("b") // the signed deposit goes on for nobody, the other is not made
	require.Equal(t, 1, r.depositsIn(fsmpb.DepositState_DEPOSIT_STATE_SIGNED))
	require.Zero(t, r.depositsIn(fsmpb.DepositState_DEPOSIT_STATE_PLANNED))

	answer := r.ask("a", "1", 6)
	require.Equal(t, own, answer.Allocation.GetKeys(), "nothing is handed out until all is there")
	require.EqualValues(t, 5, answer.Request.GetWant())
	want := [][]byte{stock[1], stock[2], loose[0], loose[1]}
	require.Equal(t, want, answer.Request.GetReserved())
	require.Equal(t, [][]byte{loose[1]}, r.toSign(), "only the last one is paid for")
	require.Equal(t, 1, r.View().Shortfall())

	r.generate(1)
	r.finish(loose[0])
	r.pay()
	got := r.View().Allocation("ns", "a").GetKeys()
	require.Equal(t, slices.Concat(own, want), got[:5])
	require.Len(t, got, 6)
	require.Nil(t, r.View().Request("ns", "a"))
}

func TestAllocateRepeated(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.generate(2)
	first := r.ask("a", "1", 4)
	for _, n := range []uint32{4, 1, 4} {
		again := r.ask("a", "1", n)
		require.Equal(t, first.Request.GetReserved(), again.Request.GetReserved())
		require.EqualValues(t, 4, again.Request.GetWant(), "asking for fewer takes none away")
		require.Equal(t, 2, r.View().Shortfall())
	}
	r.generate(2)
	r.pay()
	held := r.ask("a", "1", 4)
	require.Nil(t, held.Request)
	for _, n := range []uint32{4, 1} {
		again := r.ask("a", "1", n)
		require.Equal(t, held.Allocation, again.Allocation)
	}
	require.Equal(t, 4, r.depositsIn(fsmpb.DepositState_DEPOSIT_STATE_FINAL))
}

func TestAllocateTopUpWidensTheRequest(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	own := r.stock(2)
	r.ask("a", "1", 2)
	require.EqualValues(t, 2, r.ask("a", "1", 4).Request.GetWant())
	require.EqualValues(t, 3, r.ask("a", "1", 5).Request.GetWant())
	require.EqualValues(t, 3, r.ask("a", "1", 3).Request.GetWant())
	r.generate(3)
	r.pay()
	got := r.View().Allocation("ns", "a")
	require.Len(t, got.GetKeys(), 5)
	require.Equal(t, own, got.GetKeys()[:2])
}

func TestAllocateBehindAnotherUID(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	keys := r.stock(2)
	r.ask("a", "1", 2)

	answer := r.ask("a", "2", 3)
	require.True(t, answer.Request.GetBlocked())
	require.Equal(t, "1", answer.Allocation.GetPod().GetUid())
	require.Zero(t, r.View().Shortfall(), "nothing is planned while the old holder may sign")
	require.Equal(t, keys, answer.Request.GetReserved())

	r.free("a", nil, 0)
	require.True(t, r.ask("a", "2", 3).Request.GetBlocked(), "resting is not gone")
	require.Zero(t, r.View().Shortfall())

	r.free("a", proof(), 0)
	require.Equal(t, 1, r.View().Shortfall(), "now the third is planned")
	require.Empty(t, r.holder(keys[0]))
	r.generate(1)
	r.pay()
	got := r.View().Allocation("ns", "a")
	require.Equal(t, "2", got.GetPod().GetUid())
	require.Equal(t, keys, got.GetKeys()[:2], "the same keys")
	require.Len(t, got.GetKeys(), 3)
}

func TestAllocateFewerBehindAnotherUID(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	keys := r.stock(3)
	r.ask("a", "1", 3)
	r.ask("a", "2", 1)
	require.Equal(t, keys[:2], r.ask("a", "2", 2).Request.GetReserved())
	r.free("a", proof(), 0)
	require.Equal(t, keys[:2], r.View().Allocation("ns", "a").GetKeys())
	require.Equal(t, fsmpb.KeyState_KEY_STATE_FREE, r.View().Key(keys[2]).GetState())
}

func TestAllocateThirdUIDReplacesTheOneThatWaits(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	keys := r.stock(2)
	r.ask("a", "1", 2)
	r.ask("a", "2", 2)
	require.Equal(t, "3", r.ask("a", "3", 2).Request.GetPod().GetUid())
	r.free("a", proof(), 0)
	require.Equal(t, "3", r.holder(keys[0]))
}

func TestOldUIDComesBack(t *testing.T) {
	t.Parallel()
	t.Run("for what it has", func(t *testing.T) {
		t.Parallel()
		r := newReplica(t)
		keys := r.stock(2)
		r.ask("a", "1", 2)
		r.ask("a", "2", 2)
		r.free("a", proof(), 500)
		answer := r.ask("a", "1", 2)
		require.Nil(t, answer.Request, "another UID's request is not its own")
		require.Equal(t, fsmpb.AllocationState_ALLOCATION_STATE_HELD, answer.Allocation.GetState())
		require.Nil(t, answer.Allocation.GetProof())
		require.True(t, r.View().Request("ns", "a").GetBlocked(), "the new one waits again")
		r.ok(&fsmpb.Tick{ElapsedMs: 1000})
		require.Equal(t, "1", r.holder(keys[0]), "the old proof has no power any more")
	})
	t.Run("for more", func(t *testing.T) {
		t.Parallel()
		r := newReplica(t)
		r.stock(2)
		r.ask("a", "1", 2)
		r.ask("a", "2", 2)
		r.free("a", nil, 0)
		answer := r.ask("a", "1", 3)
		require.Equal(t, "1", answer.Request.GetPod().GetUid())
		require.EqualValues(t, 1, answer.Request.GetWant())
		for k := range r.View().Keys(nil) {
			require.Empty(t, k.GetReservedBy(), "the new one's request is withdrawn")
		}
		require.True(t, r.ask("a", "2", 2).Request.GetBlocked(), "and blocked when it asks again")
		require.Zero(t, r.View().Shortfall())
	})
}

func TestNewUIDTakesOverAWaitingRequest(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]uint32{"fewer": 1, "as many": 3, "more": 5} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReplica(t)
			r.generate(3)
			before := r.ask("a", "1", 3).Request
			r.sign(before.GetReserved()[0])
			after := r.ask("a", "2", n).Request
			require.Equal(t, before.GetSeq(), after.GetSeq(), "it keeps its turn")
			require.Equal(t, before.GetReserved()[:min(n, 3)], after.GetReserved())
			require.Len(t, r.toSign(), int(min(n, 3))-1, "nothing is planned beyond what is asked")
			r.generate(2)
			r.finish(before.GetReserved()[0])
			r.pay()
			require.Len(t, r.View().Allocation("ns", "a").GetKeys(), int(n))
			require.Equal(t, int(n), r.depositsIn(fsmpb.DepositState_DEPOSIT_STATE_FINAL))
		})
	}
}

func TestPoolKeysReplacePlannedDeposits(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	stock := r.stock(2)
	r.ask("a", "1", 2)
	r.generate(3)
	planned := r.ask("b", "1", 3).Request.GetReserved()
	r.sign(planned[0])
	r.free("a", proof(), 0)
	b := r.View().Request("ns", "b")
	require.Equal(t, [][]byte{planned[0], stock[0], stock[1]}, b.GetReserved(), "the signed one stays")
	require.Empty(t, r.toSign())
	require.Equal(t, 2, r.keysIn(fsmpb.KeyState_KEY_STATE_GENERATED))
	r.finish(planned[0])
	require.Equal(t, b.GetReserved(), r.View().Allocation("ns", "b").GetKeys())
}

// A stake that is on its way for nobody is one that need not be paid again.
func TestLooseKeysReplacePlannedDeposits(t *testing.T) {
	t.Parallel()
	for state, kinds := range map[string][]fsmpb.Observation_Kind{
		"signed": {}, "sent": {sent}, "mined": {sent, mined}, "lost": {sent, lost},
	} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			r := newReplica(t)
			r.generate(4)
			first := r.ask("a", "1", 2).Request.GetReserved()
			r.sign(first[0])
			for _, kind := range kinds {
				r.observe(kind, first[0])
			}
			second := r.ask("b", "1", 2).Request.GetReserved()
			r.withdraw("a")
			if state == "lost" {
				require.Equal(t, second, r.View().Request("ns", "b").GetReserved(), "that one would have to be paid again")
				return
			}
			require.Equal(t, [][]byte{first[0], second[1]}, r.View().Request("ns", "b").GetReserved())
			require.Zero(t, r.View().Request("ns", "b").GetReady())
			require.Equal(t, [][]byte{second[1]}, r.toSign(), "one stake is saved")
			require.Nil(t, r.View().Deposit(second[0]))
			if state != "mined" {
				r.observe(mined, first[0])
			}
			r.observe(final, first[0])
			r.pay()
			require.Equal(t, [][]byte{first[0], second[1]}, r.View().Allocation("ns", "b").GetKeys())
		})
	}
}

// One whose stake was lost hides no other behind it.
func TestLostLooseKeyHidesNoOther(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.generate(4)
	first := r.ask("a", "1", 2).Request.GetReserved()
	r.sign(first...)
	r.observe(lost, first[0])
	second := r.ask("b", "1", 2).Request.GetReserved()
	r.withdraw("a")
	require.Equal(t, [][]byte{first[1], second[1]}, r.View().Request("ns", "b").GetReserved())
}

func TestOldestRequestFirst(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.ask("z", "1", 2)
	r.ask("a", "1", 2)
	r.generate(3)
	require.Len(t, r.View().Request("ns", "z").GetReserved(), 2)
	require.Len(t, r.View().Request("ns", "a").GetReserved(), 1)
	r.pay()
	require.NotNil(t, r.View().Allocation("ns", "z"))
	require.Nil(t, r.View().Allocation("ns", "a"), "granted whole or not at all")
}

func TestAllocateInvalid(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	long := strings.Repeat("x", maxName+1)
	for name, c := range map[string]*fsmpb.Allocate{
		"no pod":             {Keys: 1},
		"no namespace":       {Keys: 1, Pod: &fsmpb.Pod{Name: "a", Uid: "1"}},
		"no name":            {Keys: 1, Pod: &fsmpb.Pod{Namespace: "ns", Uid: "1"}},
		"no UID":             {Keys: 1, Pod: &fsmpb.Pod{Namespace: "ns", Name: "a"}},
		"slash in namespace": {Keys: 1, Pod: &fsmpb.Pod{Namespace: "n/s", Name: "a", Uid: "1"}},
		"slash in name":      {Keys: 1, Pod: &fsmpb.Pod{Namespace: "ns", Name: "a/b", Uid: "1"}},
		"zero byte in name":  {Keys: 1, Pod: &fsmpb.Pod{Namespace: "ns", Name: "a\x00", Uid: "1"}},
		"zero byte in UID":   {Keys: 1, Pod: &fsmpb.Pod{Namespace: "ns", Name: "a", Uid: "\x00"}},
		"long name":          {Keys: 1, Pod: &fsmpb.Pod{Namespace: "ns", Name: long, Uid: "1"}},
		"no keys":            {Pod: testPod("a", "1")},
		"too many keys":      {Keys: MaxKeysPerPod + 1, Pod: testPod("a", "1")},
		"far too many keys":  {Keys: 1<<32 - 1, Pod: testPod("a", "1")},
	} {
		t.Log(name)
		r.refused(Invalid, c)
	}
	require.Zero(t, r.View().Meta().GetNextRequest())
}

func TestDiscloseIsRecordedOnlyWhenKeysAreHeld(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	disclosed := func() (n int) {
		for a := range r.View().Audit(0) {
			if a.GetAction() == "key.disclose" {
				n++
			}
		}
		return n
	}
	disclose := func(uid string) { r.ok(&fsmpb.Allocate{Pod: testPod("a", uid), Keys: 1, Disclose: true}) }
	disclose("1")
	require.Zero(t, disclosed())
	r.generate(1)
	r.pay()
	disclose("1")
	require.Equal(t, 1, disclosed())
	disclose("2") // waits behind the first
	require.Equal(t, 1, disclosed())
	disclose("1") // though the second waits
	require.Equal(t, 2, disclosed())
}
