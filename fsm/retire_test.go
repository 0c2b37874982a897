package fsm

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/audit"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

const retired = fsmpb.KeyState_KEY_STATE_RETIRED

// auditOf counts the audit records about an action and returns the last one's detail.
func auditOf(r *replica, action string) (n int, detail string) {
	for a := range r.View().Audit(0) {
		if a.GetAction() == action && a.GetOutcome() == audit.OutcomeDone {
			n, detail = n+1, a.GetDetail()
		}
	}
	return n, detail
}

func TestRetiredKeyOfThePoolIsNeverHandedOut(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	keys := r.stock(2)
	r.retire(RetiredExited, keys[0])
	k := r.View().Key(keys[0])
	require.Equal(t, retired, k.GetState())
	require.Equal(t, RetiredExited, k.GetRetiredReason())
	require.Equal(t, "seen", k.GetRetiredDetail())
	require.Equal(t, fsmpb.DepositState_DEPOSIT_STATE_FINAL, r.View().Deposit(keys[0]).GetState(), "the stake was paid all the same")
	require.Equal(t, [][]byte{keys[1]}, r.ask("a", "1", 1).Allocation.GetKeys())
	require.NotNil(t, r.ask("b", "1", 1).Request)
	require.Equal(t, 1, r.View().Shortfall())
	require.Equal(t, 1, r.keysIn(retired))
}

func TestRetiredKeyLeavesItsAllocation(t *testing.T) {
	t.Parallel()
	for _, resting := range []bool{false, true} {
		r := newReplica(t)
		keys := r.stock(3)
		before := r.ask("a", "1", 3).Allocation
		if resting {
			r.free("a", proof(), 100)
			before = r.View().Allocation("ns", "a")
		}
		r.retire(RetiredSlashed, keys[1])
		a := r.View().Allocation("ns", "a")
		require.Equal(t, [][]byte{keys[0], keys[2]}, a.GetKeys(), "the others keep their order")
		require.Greater(t, a.GetFence(), before.GetFence())
		require.Equal(t, before.GetState(), a.GetState())
		require.Equal(t, before.GetFreeAtMs(), a.GetFreeAtMs())
		require.Nil(t, r.View().Key(keys[1]).GetHolder())
		_, detail := auditOf(r, "key.retire")
		require.Equal(t, "slashed: seen; held by ns/a with UID 1", detail)
		if resting {
			r.ok(&fsmpb.Tick{ElapsedMs: 100})
			require.Nil(t, r.View().Allocation("ns", "a"))
			require.Equal(t, 2, r.keysIn(fsmpb.KeyState_KEY_STATE_FREE))
			continue
		}
		require.Nil(t, r.View().Request("ns", "a"), "nothing is planned that nobody asked for")
		require.EqualValues(t, 3, r.ask("a", "1", 3).Request.GetKeys(), "asked for again, it is replaced")
		r.generate(1)
		r.pay()
		require.Len(t, r.View().Allocation("ns", "a").GetKeys(), 3)
		require.NotContains(t, r.View().Allocation("ns", "a").GetKeys(), keys[1])
	}
}

func TestRetiringTheLastKeyEndsAnAllocation(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	keys := r.stock(3)
	r.ask("a", "1", 2)
	require.True(t, r.ask("a", "2", 1).Request.GetBlocked())
	r.retire(RetiredExited, keys[0])
	require.Equal(t, "1", r.View().Allocation("ns", "a").GetPod().GetUid())
	require.True(t, r.View().Request("ns", "a").GetBlocked(), "the other key may still sign")
	r.retire(RetiredExited, keys[1])
	a := r.View().Allocation("ns", "a")
	require.Equal(t, "2", a.GetPod().GetUid(), "nothing of the old holder is left to wait for")
	require.Equal(t, [][]byte{keys[2]}, a.GetKeys())
	require.Nil(t, r.View().Request("ns", "a"))
}

func TestRetiringKeepsARequestWhole(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	keys := r.stock(3)
	r.ask("a", "1", 2)
	r.generate(4)
	reserved := r.ask("a", "1", 4).Request.GetReserved() // the free one, and one to be paid for
	require.Equal(t, keys[2], reserved[0])
	r.retire(RetiredWithdrawn, keys[0], keys[2], keys[2])
	request := r.View().Request("ns", "a")
	require.EqualValues(t, 3, request.GetWant(), "one held key is missing now, too")
	require.Zero(t, request.GetReady())
	require.Len(t, request.GetReserved(), 3, "others were taken")
	r.pay()
	require.Len(t, r.View().Allocation("ns", "a").GetKeys(), 4)
	require.Equal(t, keys[1], r.View().Allocation("ns", "a").GetKeys()[0])
}

func TestRetiringAndDeposits(t *testing.T) {
	t.Parallel()
	r, keys := planned(t, 4)
	r.sign(keys[1], keys[2], keys[3])
	r.observe(lost, keys[3])
	r.refused(KeyInUse, &fsmpb.RetireKeys{Pubkeys: keys[1:2], Reason: RetiredOperator})
	r.refused(KeyInUse, &fsmpb.RetireKeys{Pubkeys: keys[3:], Reason: RetiredOperator})
	r.ok(&fsmpb.RetireKeys{Pubkeys: keys[:1], Reason: RetiredOperator})
	require.Nil(t, r.View().Deposit(keys[0]), "a deposit that was never signed is not made")
	r.retire(RetiredExited, keys[1:]...)
	require.Empty(t, r.toSign(), "a retired key is not paid for again")
	r.finish(keys[1])
	require.Equal(t, fsmpb.DepositState_DEPOSIT_STATE_FINAL, r.View().Deposit(keys[1]).GetState(), "what was signed goes on")
	require.Equal(t, retired, r.View().Key(keys[1]).GetState(), "and frees nothing")
	r.observe(lost, keys[2])
	require.Empty(t, r.toSign())
	require.Equal(t, 4, r.View().Shortfall(), "the request takes others")
}

func TestOperatorsRetireWhatIsInUseOnlyWithForce(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	keys := r.stock(3)
	r.ask("a", "1", 1)
	r.ask("b", "1", 1)
	r.free("b", nil, 0)
	for _, key := range keys[:2] {
		r.refused(KeyInUse, &fsmpb.RetireKeys{Pubkeys: [][]byte{keys[2], key}, Reason: RetiredOperator})
	}
	r.ok(&fsmpb.RetireKeys{Pubkeys: keys[2:], Reason: RetiredOperator, Detail: strings.Repeat("x", 2000)})
	require.Len(t, r.View().Key(keys[2]).GetRetiredDetail(), 1024)
	r.ok(&fsmpb.RetireKeys{Pubkeys: keys, Reason: RetiredOperator, Detail: "leaked", Force: true})
	require.Equal(t, 3, r.keysIn(retired))
	require.NotEqual(t, "leaked", r.View().Key(keys[2]).GetRetiredDetail(), "the first reason stays")
	n, _ := auditOf(r, "key.retire")
	require.Equal(t, 3, n, "a repeat is no change")
	r.refused(NotFound, &fsmpb.RetireKeys{Pubkeys: [][]byte{keys[0], pubkey(99)}, Reason: RetiredExited})
	r.refused(NotFound, &fsmpb.RetireKeys{Pubkeys: [][]byte{nil}, Reason: RetiredExited})
	r.refused(Invalid, &fsmpb.RetireKeys{Pubkeys: keys[:1], Reason: "bored"})
}

func TestValidatorStatusIsKept(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	key := r.stock(1)[0]
	see := func(v *fsmpb.Validator) *fsmpb.Key {
		r.ok(&fsmpb.ObserveValidators{Validators: []*fsmpb.Validator{v, {Pubkey: pubkey(99), Status: "active_ongoing"}}})
		return r.View().Key(key)
	}
	k := see(&fsmpb.Validator{Pubkey: key, Status: "active_ongoing", Index: 7, EffectiveBalanceGwei: 32e9})
	require.Equal(t, "active_ongoing", k.GetValidatorStatus())
	require.EqualValues(t, 7, k.GetValidatorIndex())
	require.Equal(t, uint64(32e9), k.GetEffectiveBalanceGwei())
	require.Nil(t, r.View().Key(pubkey(99)), "a stranger does not become a key")
	r.ask("a", "1", 1)
	r.retire(RetiredExited, key)
	k = see(&fsmpb.Validator{Pubkey: key, Status: "withdrawal_done", Index: 7})
	require.Equal(t, "withdrawal_done", k.GetValidatorStatus(), "retired keys have a status, too")
	require.Equal(t, retired, k.GetState())
	k = see(&fsmpb.Validator{Pubkey: key, Index: 7, EffectiveBalanceGwei: 1})
	require.Zero(t, k.GetValidatorIndex()+k.GetEffectiveBalanceGwei(), "without a status nothing is known")
	r.refused(Invalid, &fsmpb.ObserveValidators{Validators: []*fsmpb.Validator{{Pubkey: key, Status: strings.Repeat("s", 65)}}})
}

func TestImportedKeysAreRetiredWhileTheyRest(t *testing.T) {
	t.Parallel()
	for name, confirmed := range map[string]bool{"nobody vouched yet": false, "during the wait after an operator's word": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReplica(t)
			key := pubkey(1 << 20)
			r.bring(key)
			if confirmed {
				r.confirm(key, 500)
			}
			r.refused(KeyInUse, &fsmpb.RetireKeys{Pubkeys: [][]byte{key}, Reason: RetiredOperator})
			r.retire(RetiredSlashed, key)
			r.confirm(key, 0)
			r.bring(key)
			r.ok(&fsmpb.Tick{ElapsedMs: 1000})
			k := r.View().Key(key)
			require.Equal(t, retired, k.GetState(), "neither a word nor time nor a second import brings it back")
			require.Nil(t, k.GetProof())
			require.Zero(t, k.GetFreeAtMs())
			require.NotEmpty(t, k.GetSealed(), "the secret is kept: nobody else may have it")
			require.NotNil(t, r.ask("a", "1", 1).Request)
		})
	}
}

// Every way in which a key can come to a pod passes retired ones by.
func TestRetiredKeysComeBackByNoPath(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	keys := r.stock(4)
	r.ask("a", "1", 2)
	r.retire(RetiredExited, keys[0])
	require.Equal(t, [][]byte{keys[1], keys[2]}, r.ask("a", "1", 2).Allocation.GetKeys(), "the holder itself asks again")
	r.free("a", nil, 0)
	require.Equal(t, [][]byte{keys[1], keys[2]}, r.ask("a", "1", 2).Allocation.GetKeys(), "it comes back from a rest")
	r.free("a", nil, 0)
	r.retire(RetiredSlashed, keys[1])
	require.Equal(t, [][]byte{keys[2]}, r.ask("a", "2", 2).Request.GetReserved(), "its successor waits for what is left")
	r.free("a", proof(), 0)
	require.Equal(t, [][]byte{keys[2], keys[3]}, r.View().Allocation("ns", "a").GetKeys(), "released by proof")
	r.generate(2)
	b := r.ask("b", "1", 1).Request.GetReserved()
	r.sign(b...)
	r.retire(RetiredOperator) // nothing
	r.ok(&fsmpb.RetireKeys{Pubkeys: b, Reason: RetiredOperator, Force: true})
	r.sign(r.toSign()...)
	r.finish(b...)
	require.Nil(t, r.View().Allocation("ns", "b"), "its own stake frees nothing and is swapped in nowhere")
	r.pay()
	require.NotEqual(t, b, r.View().Allocation("ns", "b").GetKeys())
}

func TestTheFirstReasonStays(t *testing.T) {
	t.Parallel()
	r, keys := planned(t, 1)
	r.sign(keys[0])
	r.observe(lost, keys[0])
	r.retire(RetiredExited, keys[0])
	before := digest(r.View())
	r.observe(foreign, keys[0])
	r.retire(RetiredSlashed, keys[0])
	require.Equal(t, before, digest(r.View()))
	require.Equal(t, RetiredExited, r.View().Key(keys[0]).GetRetiredReason())
}
