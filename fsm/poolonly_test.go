package fsm

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func poolOnly(name, uid string, n uint32) *fsmpb.Allocate {
	return &fsmpb.Allocate{Pod: testPod(name, uid), Keys: n, PoolOnly: true}
}

func (r *replica) askPool(name, uid string, n uint32) Allocated {
	r.t.Helper()
	a, ok := r.ok(poolOnly(name, uid, n)).(Allocated)
	require.True(r.t, ok)
	return a
}

// What the pool can not fill whole is refused, and nothing of it is taken.
func TestPoolOnly(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.stock(3)
	r.refused(PoolShort, poolOnly("a", "1", 4))
	require.Nil(t, r.askPool("a", "1", 2).Request)
	require.Len(t, r.View().Allocation("ns", "a").GetKeys(), 2)
	r.refused(PoolShort, poolOnly("b", "1", 2))

	// A top-up is a request like others; a repeat needs nothing.
	r.refused(PoolShort, poolOnly("a", "1", 4))
	require.Nil(t, r.askPool("a", "1", 2).Request)
	require.Nil(t, r.askPool("a", "1", 3).Request)
	require.Len(t, r.View().Allocation("ns", "a").GetKeys(), 3)

	// The pod's own keys need no pool, be it the same UID or the next.
	r.free("a", nil, 0)
	r.refused(PoolShort, poolOnly("a", "1", 4))
	require.Equal(t, fsmpb.AllocationState_ALLOCATION_STATE_RESTING, r.View().Allocation("ns", "a").GetState(), "woken by what was refused")
	require.Nil(t, r.askPool("a", "1", 3).Request)
	r.free("a", nil, 0)
	r.refused(PoolShort, poolOnly("a", "2", 4))
	require.NotNil(t, r.askPool("a", "2", 3).Request, "it waits for its own keys")
	r.refused(PoolShort, poolOnly("a", "1", 4)) // what the next UID reserves is not counted twice
	r.free("a", proof(), 0)
	require.Equal(t, "2", r.View().Allocation("ns", "a").GetPod().GetUid())
	require.Zero(t, r.depositsIn(fsmpb.DepositState_DEPOSIT_STATE_PLANNED))
}

// What waits since deposits were made goes on waiting, and may be joined.
func TestPoolOnlyJoinsWhatWaits(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.ask("a", "1", 3)
	r.generate(2)
	require.NotNil(t, r.askPool("a", "1", 3).Request)
	require.NotNil(t, r.askPool("a", "1", 2).Request)
	r.refused(PoolShort, poolOnly("a", "1", 4))
	require.NotNil(t, r.askPool("a", "2", 2).Request, "the next UID takes over what is reserved, and no more")
	require.Equal(t, uint32(2), r.View().Request("ns", "a").GetKeys())
}

// short checks with plain sets what a request for the pool only was answered.
func (l *ledger) short(t rapid.TB, c *fsmpb.Allocate, refused bool, before, after *world) {
	t.Helper()
	name, uid := podName(c.GetPod()), c.GetPod().GetUid()
	held, asked := before.allocations[name], before.requests[name]
	own := map[string]bool{}
	for _, k := range held.GetKeys() {
		by := before.keys[string(k)].GetReservedBy()
		if held.GetPod().GetUid() == uid || by == "" || by == name {
			own[string(k)] = true
		}
	}
	if asked.GetPod().GetUid() == uid || held == nil {
		for _, k := range asked.GetReserved() {
			own[string(k)] = true
		}
	}
	joins := asked.GetPod().GetUid() == uid && asked.GetKeys() >= c.GetKeys()
	free := map[string]bool{}
	for pubkey, k := range before.keys {
		if k.GetState() == fsmpb.KeyState_KEY_STATE_FREE && k.GetReservedBy() == "" {
			free[pubkey] = true
		}
	}
	require.Equal(t, !joins && len(own)+len(free) < int(c.GetKeys()), refused, "%d of its own, %d in the pool", len(own), len(free))
	if refused || joins {
		return
	}
	for _, k := range after.requests[name].GetReserved() {
		require.True(t, own[string(k)] || free[string(k)], "something was planned for a request that is for the pool only")
	}
}
