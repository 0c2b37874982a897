package fsm

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestReleaseWithoutProofRestsForever(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	key := r.stock(1)[0]
	r.ask("a", "1", 1)
	fence := r.View().Allocation("ns", "a").GetFence()
	r.free("a", nil, 0)
	resting := r.View().Allocation("ns", "a")
	require.Equal(t, fsmpb.AllocationState_ALLOCATION_STATE_RESTING, resting.GetState())
	require.Greater(t, resting.GetFence(), fence)

	for range 100 {
		r.ok(&fsmpb.Tick{ElapsedMs: MaxTickMS})
	}
	r.free("a", nil, 0) // once more says nothing new
	require.Equal(t, "1", r.holder(key))
	r.ask("b", "1", 1)
	require.Equal(t, 1, r.View().Shortfall(), "it is not for others")

	r.refused(StaleFence, &fsmpb.Release{Namespace: "ns", Pod: "a", Fence: fence, Proof: proof()})
	r.free("a", proof(), 0)
	require.Nil(t, r.View().Allocation("ns", "a"))
	require.Equal(t, [][]byte{key}, r.View().Allocation("ns", "b").GetKeys())
	k := r.View().Key(key)
	require.Less(t, k.GetProofFence(), k.GetFence())
	require.NotZero(t, k.GetProofFence())
}

func TestReleaseWaitsInClusterTime(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	key := r.stock(1)[0]
	r.ask("a", "1", 1)
	r.ask("a", "2", 1)
	r.ok(&fsmpb.Tick{ElapsedMs: 10})
	r.free("a", proof(), 100)
	for _, step := range []struct {
		ms     uint64
		holder string
	}{{0, "1"}, {99, "1"}, {1, "2"}, {1, "2"}} {
		r.ok(&fsmpb.Tick{ElapsedMs: step.ms})
		require.Equal(t, step.holder, r.holder(key), "at %d ms", r.View().Meta().GetClusterTimeMs())
	}
}

func TestReleaseKeepsTheFirstProof(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.stock(1)
	r.ask("a", "1", 1)
	r.free("a", proof(), 100)
	r.ok(&fsmpb.Tick{ElapsedMs: 40})
	r.free("a", &fsmpb.Proof{Kind: fsmpb.Proof_KIND_CALLER, By: "other"}, 0)
	a := r.View().Allocation("ns", "a")
	require.EqualValues(t, 100, a.GetFreeAtMs(), "a second proof neither shortens nor starts the wait anew")
	require.Equal(t, "op", a.GetProof().GetBy())
	r.free("a", nil, 0)
	r.ok(&fsmpb.Tick{ElapsedMs: 60})
	require.Nil(t, r.View().Allocation("ns", "a"))
}

func TestTickIsBounded(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.stock(1)
	r.ask("a", "1", 1)
	r.free("a", proof(), MaxTickMS+1)
	r.ok(&fsmpb.Tick{ElapsedMs: 1<<64 - 1})
	require.EqualValues(t, MaxTickMS, r.View().Meta().GetClusterTimeMs())
	require.NotNil(t, r.View().Allocation("ns", "a"), "a clock that leapt frees nothing")
	r.ok(&fsmpb.Tick{ElapsedMs: 1})
	require.Nil(t, r.View().Allocation("ns", "a"))
}

func TestTickEndsManyRestsInOrder(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.stock(3)
	for i, name := range []string{"c", "a", "b"} {
		r.ask(name, "1", 1)
		r.free(name, proof(), uint64(10*(i+1)))
	}
	for _, left := range []int{2, 1, 0} {
		r.ok(&fsmpb.Tick{ElapsedMs: 10})
		require.Equal(t, left, r.keysIn(fsmpb.KeyState_KEY_STATE_RESTING))
	}
	r.ask("d", "1", 3)
	require.Len(t, r.View().Allocation("ns", "d").GetKeys(), 3)
}

func TestEndlessWait(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.stock(1)
	r.ask("a", "1", 1)
	r.ok(&fsmpb.Tick{ElapsedMs: 10})
	r.free("a", proof(), 1<<64-1)
	r.ok(&fsmpb.Tick{ElapsedMs: MaxTickMS})
	require.NotNil(t, r.View().Allocation("ns", "a"), "the sum must not wrap around to the past")
}

func TestReleaseRefused(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.stock(1)
	r.ask("a", "1", 1)
	r.ask("w", "1", 1) // waits
	fence := r.View().Allocation("ns", "a").GetFence()
	for name, x := range map[string]struct {
		code Code
		c    *fsmpb.Release
	}{
		"empty":              {NotFound, &fsmpb.Release{}},
		"unknown pod":        {NotFound, &fsmpb.Release{Namespace: "ns", Pod: "x", Fence: 1, Proof: proof()}},
		"old fence":          {StaleFence, &fsmpb.Release{Namespace: "ns", Pod: "a", Fence: fence - 1, Proof: proof()}},
		"future fence":       {StaleFence, &fsmpb.Release{Namespace: "ns", Pod: "a", Fence: fence + 1, Proof: proof()}},
		"no fence":           {StaleFence, &fsmpb.Release{Namespace: "ns", Pod: "a", Proof: proof()}},
		"fence of a request": {StaleFence, &fsmpb.Release{Namespace: "ns", Pod: "w", Fence: 1}},
		"empty proof":        {Invalid, &fsmpb.Release{Namespace: "ns", Pod: "a", Fence: fence, Proof: &fsmpb.Proof{}}},
		"unknown proof":      {Invalid, &fsmpb.Release{Namespace: "ns", Pod: "a", Fence: fence, Proof: &fsmpb.Proof{Kind: 99}}},
		"slash":              {NotFound, &fsmpb.Release{Namespace: "n", Pod: "s/a", Fence: fence, Proof: proof()}},
	} {
		t.Log(name)
		r.refused(x.code, x.c)
	}
}

// A release that names the UID never touches the next pod of the name, even if
// its fence was looked up anew.
func TestReleaseNamesTheUID(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.stock(2)
	r.ask("a", "1", 1)
	old := r.View().Allocation("ns", "a").GetFence()
	r.ask("a", "2", 1) // behind the first
	release := func(uid string, fence uint64) *fsmpb.Release {
		return &fsmpb.Release{Namespace: "ns", Pod: "a", PodUid: uid, Fence: fence, Proof: proof()}
	}
	r.refused(NotFound, release("3", old))
	r.refused(NotFound, release("3", 0))
	r.refused(StaleFence, release("2", old)) // it waits, so "nothing to do" would be wrong
	r.refused(StaleFence, release("1", 0))   // it holds
	r.ok(release("1", old))
	require.Equal(t, "2", r.View().Allocation("ns", "a").GetPod().GetUid())

	next := r.View().Allocation("ns", "a").GetFence()
	for _, fence := range []uint64{0, old, next} {
		r.refused(NotFound, release("1", fence))
	}
	no := r.do(release("1", next)).Refusal
	require.Equal(t, "UID 1 of pod ns/a holds nothing and waits for nothing: nothing to do", no.Detail)
	r.refused(StaleFence, release("2", next+1))
	r.ok(release("2", next))
	require.Nil(t, r.View().Allocation("ns", "a"))
	r.refused(NotFound, release("2", next))
}

func TestWithdrawNamesTheUID(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.stock(1)
	withdraw := func(pod, uid string) *fsmpb.Release {
		return &fsmpb.Release{Namespace: "ns", Pod: pod, PodUid: uid}
	}
	r.ask("a", "1", 1)
	r.ask("a", "2", 1)
	r.ok(withdraw("a", "2"))
	require.Nil(t, r.View().Request("ns", "a"))
	require.Equal(t, "1", r.View().Allocation("ns", "a").GetPod().GetUid())

	r.ask("w", "2", 1)
	r.refused(NotFound, withdraw("w", "1"))
	r.refused(StaleFence, &fsmpb.Release{Namespace: "ns", Pod: "w", PodUid: "2", Fence: 7})
	r.ok(withdraw("w", "2"))
	r.refused(NotFound, withdraw("w", "2"))

	r.ask("a", "1", 3) // a top-up
	r.ok(withdraw("a", "1"))
	require.Nil(t, r.View().Request("ns", "a"))
	require.Len(t, r.View().Allocation("ns", "a").GetKeys(), 1)
}

func TestReleaseWithdrawsTheTopUp(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.stock(1)
	r.ask("a", "1", 1)
	r.ask("a", "1", 3)
	r.generate(2)
	require.Len(t, r.toSign(), 2)
	r.free("a", nil, 0)
	require.Nil(t, r.View().Request("ns", "a"))
	require.Empty(t, r.toSign(), "a pod that leaves wants nothing more")
	require.Equal(t, 2, r.keysIn(fsmpb.KeyState_KEY_STATE_GENERATED))
}

func TestWithdrawWhileDepositsAreOnTheirWay(t *testing.T) {
	t.Parallel()
	const planned, sent, mined, final = fsmpb.Observation_KIND_UNSPECIFIED, fsmpb.Observation_KIND_SENT, fsmpb.Observation_KIND_MINED, fsmpb.Observation_KIND_FINAL
	for name, kinds := range map[string][]fsmpb.Observation_Kind{
		"signed": {}, "sent": {sent}, "mined": {sent, mined}, "final": {sent, mined, final}, "planned": {planned},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReplica(t)
			r.generate(2)
			keys := r.ask("a", "1", 2).Request.GetReserved()
			if name != "planned" {
				r.sign(keys[0])
				for _, kind := range kinds {
					r.observe(kind, keys[0])
				}
			}
			before := r.View().Deposit(keys[0])
			r.withdraw("a")
			require.Empty(t, r.toSign(), "nothing is signed for nobody")
			require.Nil(t, r.View().Deposit(keys[1]))
			if name == "planned" {
				require.Nil(t, r.View().Deposit(keys[0]))
				return
			}
			require.Equal(t, before, r.View().Deposit(keys[0]), "what was signed goes on")
			if name == "signed" {
				r.observe(sent, keys[0])
			}
			if name != "final" && name != "mined" {
				r.observe(mined, keys[0])
			}
			if name != "final" {
				r.observe(final, keys[0])
			}
			require.Equal(t, [][]byte{keys[0]}, r.ask("b", "1", 1).Allocation.GetKeys())
			r.refused(NotFound, &fsmpb.Release{Namespace: "ns", Pod: "a"})
		})
	}
}
