package fsm

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestLeaseThatRunsOutIsProof(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	key := r.stock(1)[0]
	r.ask("a", "1", 1)
	renewal := &fsmpb.RenewLease{Pod: testPod("a", "1"), DurationMs: 1000, WaitMs: 100}
	require.Equal(t, uint64(1000), r.ok(renewal))
	r.ok(&fsmpb.Tick{ElapsedMs: 600})
	require.Equal(t, uint64(1600), r.ok(renewal))
	r.ok(&fsmpb.RenewLease{Pod: testPod("a", "1"), DurationMs: 1})
	r.ask("a", "2", 1)
	r.ok(renewal) // somebody waits, but nobody was told that the holder is gone
	for _, step := range []struct {
		ms     uint64
		holder string
		proof  bool
	}{{999, "1", false}, {1, "1", true}, {99, "1", true}, {1, "2", false}} {
		r.ok(&fsmpb.Tick{ElapsedMs: step.ms})
		require.Equal(t, step.holder, r.holder(key), "at %d ms", r.View().Meta().GetClusterTimeMs())
		require.Equal(t, step.proof, r.View().Allocation("ns", "a").GetProof() != nil)
	}
	require.Zero(t, r.View().Allocation("ns", "a").GetLeaseUntilMs(), "the next holder begins its own")
	r.refused(NotFound, renewal)
}

func TestLeaseIsNotRenewedWhileKeysRest(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.stock(1)
	r.ask("a", "1", 1)
	renewal := &fsmpb.RenewLease{Pod: testPod("a", "1"), DurationMs: 1000}
	r.ok(renewal)
	r.free("a", nil, 0)
	r.refused(StaleFence, renewal)
	r.ok(&fsmpb.Tick{ElapsedMs: 1000})
	require.Nil(t, r.View().Allocation("ns", "a"), "the lease ends a rest without proof")
}

func TestNextUIDWithWatermarksNeedsNoWait(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		keys     uint32 // that the next UID asks for
		protects bool
		early    bool
	}{
		{"all keys, watermarks are imported", 2, true, true},
		{"no watermarks", 2, false, false},
		{"fewer keys: the other one would be free too early", 1, true, false},
		{"more keys: the request could be taken back with keys that are free too early", 3, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, proofFirst := range []bool{false, true} {
				r := newReplica(t)
				keys := r.stock(2)
				r.ask("a", "1", 2)
				next := &fsmpb.Allocate{Pod: testPod("a", "2"), Keys: tt.keys, SlashingProtection: tt.protects}
				if proofFirst {
					r.free("a", proof(), 1000)
					r.ok(next)
				} else {
					r.ok(next)
					r.free("a", proof(), 1000)
				}
				want := map[bool]string{true: "2", false: "1"}[tt.early]
				require.Equal(t, want, r.holder(keys[0]))
				if tt.early {
					require.Equal(t, r.View().Key(keys[0]).GetProvenWallMs(), r.View().Key(keys[1]).GetProvenWallMs())
					require.NotZero(t, r.View().Key(keys[0]).GetProvenWallMs())
				}
			}
		})
	}
}

func TestObservePods(t *testing.T) {
	t.Parallel()
	terminated := &fsmpb.Proof{Kind: fsmpb.Proof_KIND_POD_TERMINATED, By: "n1", Detail: "all 2 containers ended"}
	outOfService := &fsmpb.Proof{Kind: fsmpb.Proof_KIND_OUT_OF_SERVICE, By: "n1"}
	seen := func(kind fsmpb.PodObservation_Kind, node string, proof *fsmpb.Proof) *fsmpb.PodObservation {
		return &fsmpb.PodObservation{Kind: kind, Node: node, NodeUid: "mu", Proof: proof, Code: "pod-gone", Detail: "d"}
	}
	onUID := func(uid string, o *fsmpb.PodObservation) *fsmpb.PodObservation {
		o.NodeUid = uid
		return o
	}
	for _, tt := range []struct {
		name       string
		kubernetes string
		uid        string
		what       *fsmpb.PodObservation
		changed    ObservedPods
		state      fsmpb.AllocationState // of the allocation, 0 if it is gone
	}{
		{"it goes on", "k", "1", seen(fsmpb.PodObservation_KIND_SEEN, "m", nil), 0, fsmpb.AllocationState_ALLOCATION_STATE_HELD},
		{"gone", "k", "1", seen(fsmpb.PodObservation_KIND_GONE, "m", nil), 1, fsmpb.AllocationState_ALLOCATION_STATE_RESTING},
		{"another UID", "k", "2", seen(fsmpb.PodObservation_KIND_GONE, "m", nil), 0, fsmpb.AllocationState_ALLOCATION_STATE_HELD},
		{"ended", "k", "1", seen(fsmpb.PodObservation_KIND_PROVEN, "m", terminated), 1, 0},
		{"its machine is off", "k", "1", seen(fsmpb.PodObservation_KIND_PROVEN, "m", outOfService), 1, 0},
		{"another machine is off", "k", "1", seen(fsmpb.PodObservation_KIND_PROVEN, "other", outOfService), 0, fsmpb.AllocationState_ALLOCATION_STATE_HELD},
		{"another machine that got the name is off", "k", "1", onUID("mv", seen(fsmpb.PodObservation_KIND_PROVEN, "m", outOfService)), 0, fsmpb.AllocationState_ALLOCATION_STATE_HELD},
		{"nobody knows which machine of the name is off", "k", "1", onUID("", seen(fsmpb.PodObservation_KIND_PROVEN, "m", outOfService)), 0, fsmpb.AllocationState_ALLOCATION_STATE_HELD},
		{"its machine is not ready", "k", "1", &fsmpb.PodObservation{Kind: fsmpb.PodObservation_KIND_SEEN, Code: "node-unreachable"}, 1, fsmpb.AllocationState_ALLOCATION_STATE_HELD},
		{"a machine of another Kubernetes is off", "other", "1", seen(fsmpb.PodObservation_KIND_PROVEN, "m", outOfService), 0, fsmpb.AllocationState_ALLOCATION_STATE_HELD},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newReplica(t)
			r.stock(1)
			r.ask("a", "1", 1)
			a := r.View().Allocation("ns", "a")
			first := seen(fsmpb.PodObservation_KIND_SEEN, "m", nil)
			first.Pod, first.Fence = a.GetPod(), a.GetFence()
			require.Equal(t, ObservedPods(1), r.ok(&fsmpb.ObservePods{KubernetesUid: "k", Pods: []*fsmpb.PodObservation{first}}))
			tt.what.Pod, tt.what.Fence = testPod("a", tt.uid), a.GetFence()
			command := &fsmpb.ObservePods{KubernetesUid: tt.kubernetes, Pods: []*fsmpb.PodObservation{tt.what}}
			require.Equal(t, tt.changed, r.ok(command))
			require.Equal(t, tt.state, r.View().Allocation("ns", "a").GetState())
			require.Equal(t, ObservedPods(0), r.ok(command), "once more")
		})
	}
}

// TestOutOfServiceNeedsARecord proves nothing of a pod whose machine was not on record by
// its UID before somebody said that it is off.
func TestOutOfServiceNeedsARecord(t *testing.T) {
	t.Parallel()
	for name, recorded := range map[string]*fsmpb.PodObservation{
		"never seen":  nil,
		"UID unknown": {Kind: fsmpb.PodObservation_KIND_SEEN, Node: "m"},
	} {
		for _, uid := range []string{"", "mu"} {
			t.Run(name+" "+uid, func(t *testing.T) {
				t.Parallel()
				r := newReplica(t)
				r.stock(1)
				r.ask("a", "1", 1)
				observe := func(o *fsmpb.PodObservation) any {
					o = proto.CloneOf(o)
					o.Pod, o.Fence = testPod("a", "1"), r.View().Allocation("ns", "a").GetFence()
					return r.ok(&fsmpb.ObservePods{KubernetesUid: "k", Pods: []*fsmpb.PodObservation{o}})
				}
				if recorded != nil {
					observe(recorded)
				}
				require.Equal(t, ObservedPods(0), observe(&fsmpb.PodObservation{
					Kind: fsmpb.PodObservation_KIND_PROVEN, Node: "m", NodeUid: uid, Proof: &fsmpb.Proof{Kind: fsmpb.Proof_KIND_OUT_OF_SERVICE, By: "n1"},
				}))
				observe(&fsmpb.PodObservation{Kind: fsmpb.PodObservation_KIND_SEEN, Node: "m", NodeUid: "late"})
				require.Equal(t, recorded == nil, r.View().Allocation("ns", "a").GetNodeUid() == "late", "a UID is not made up afterwards")
			})
		}
	}
}

// TestHolderThatTakesItsTime is seen with a reason, which goes when it is over or when
// the keys rest.
func TestHolderThatTakesItsTime(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.stock(1)
	r.ask("a", "1", 1)
	see := func(kind fsmpb.PodObservation_Kind, code string) *fsmpb.Allocation {
		o := &fsmpb.PodObservation{Kind: kind, Pod: testPod("a", "1"), Fence: r.View().Allocation("ns", "a").GetFence(), Code: code, Detail: code + "."}
		if code == "" {
			o.Detail = ""
		}
		require.Equal(t, ObservedPods(1), r.ok(&fsmpb.ObservePods{KubernetesUid: "k", Pods: []*fsmpb.PodObservation{o}}))
		return r.View().Allocation("ns", "a")
	}
	a := see(fsmpb.PodObservation_KIND_SEEN, "node-unreachable")
	require.Equal(t, fsmpb.AllocationState_ALLOCATION_STATE_HELD, a.GetState())
	require.Equal(t, []string{"node-unreachable", "node-unreachable."}, []string{a.GetCode(), a.GetDetail()})
	require.Empty(t, see(fsmpb.PodObservation_KIND_SEEN, "").GetCode(), "its machine is back")
	see(fsmpb.PodObservation_KIND_SEEN, "node-unreachable")
	r.ok(&fsmpb.Release{Namespace: "ns", Pod: "a", Fence: a.GetFence(), Proof: proof(), WaitMs: 1000})
	a = r.View().Allocation("ns", "a")
	require.Equal(t, fsmpb.AllocationState_ALLOCATION_STATE_RESTING, a.GetState())
	require.Empty(t, a.GetCode()+a.GetDetail(), "what was said of its holding is no reason of its rest")
}

func TestObservePodsRefusesWhatProvesNothing(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	pod := testPod("a", "1")
	for _, o := range []*fsmpb.PodObservation{
		{Pod: pod},
		{Pod: testPod("a", ""), Kind: fsmpb.PodObservation_KIND_SEEN},
		{Pod: pod, Kind: fsmpb.PodObservation_KIND_GONE},
		{Pod: pod, Kind: fsmpb.PodObservation_KIND_PROVEN},
		{Pod: pod, Kind: fsmpb.PodObservation_KIND_PROVEN, Proof: &fsmpb.Proof{Kind: fsmpb.Proof_KIND_OPERATOR}},
	} {
		r.refused(Invalid, &fsmpb.ObservePods{KubernetesUid: "k", Pods: []*fsmpb.PodObservation{o}})
	}
	r.refused(Invalid, &fsmpb.ObservePods{KubernetesUid: "k"})
	r.refused(Invalid, &fsmpb.ObservePods{Pods: []*fsmpb.PodObservation{{Pod: pod, Kind: fsmpb.PodObservation_KIND_SEEN}}})
}

// A holder that was cut off for a while and is back before anybody took its keys goes on.
func TestLeaseThatRanOutIsTakenUpAgain(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	key := r.stock(1)[0]
	r.ask("a", "1", 1)
	fence := r.View().Allocation("ns", "a").GetFence()
	renewal := &fsmpb.RenewLease{Pod: testPod("a", "1"), DurationMs: 1000, WaitMs: 100}
	r.ok(renewal)
	r.ok(&fsmpb.Tick{ElapsedMs: 1000})
	require.NotNil(t, r.View().Allocation("ns", "a").GetProof())
	r.refused(StaleFence, &fsmpb.RenewLease{Pod: testPod("a", "1"), DurationMs: 1000, Fence: fence})
	require.Equal(t, uint64(2000), r.ok(renewal))
	a := r.View().Allocation("ns", "a")
	require.Equal(t, fsmpb.AllocationState_ALLOCATION_STATE_HELD, a.GetState())
	require.Nil(t, a.GetProof())
	require.Greater(t, a.GetFence(), fence)
	r.ok(&fsmpb.Tick{ElapsedMs: 999})
	require.Equal(t, "1", r.holder(key))

	gone := &fsmpb.PodObservation{Pod: testPod("a", "1"), Fence: a.GetFence(), Kind: fsmpb.PodObservation_KIND_GONE, Code: "pod-gone"}
	r.ok(&fsmpb.ObservePods{KubernetesUid: "k", Pods: []*fsmpb.PodObservation{gone}})
	r.refused(StaleFence, renewal)
}

// What a pod asked for on top of what it holds ends with it.
func TestEndOfAHolderWithdrawsWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*replica){
		"lease": func(r *replica) { r.ok(&fsmpb.Tick{ElapsedMs: 1000}) },
		"gone": func(r *replica) {
			o := &fsmpb.PodObservation{Pod: testPod("a", "1"), Fence: r.View().Allocation("ns", "a").GetFence(), Kind: fsmpb.PodObservation_KIND_GONE, Code: "pod-gone"}
			r.ok(&fsmpb.ObservePods{KubernetesUid: "k", Pods: []*fsmpb.PodObservation{o}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReplica(t)
			r.stock(1)
			r.ask("a", "1", 1)
			r.ok(&fsmpb.RenewLease{Pod: testPod("a", "1"), DurationMs: 1000, WaitMs: 1})
			r.ask("a", "1", 2)
			require.NotNil(t, r.View().Request("ns", "a"))
			end(r)
			require.Nil(t, r.View().Request("ns", "a"))
			require.Equal(t, fsmpb.AllocationState_ALLOCATION_STATE_RESTING, r.View().Allocation("ns", "a").GetState())
		})
	}
}
