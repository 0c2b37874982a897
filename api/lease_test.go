package api

import (
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/podtoken"
)

func withLeases(c *Config) {
	c.Witness, c.LeaseDuration, c.RestAfterProof = WitnessKubernetes, 5*time.Minute, time.Minute
}

func (h *harness) lease(pod, more string) *responseRecorder {
	return h.do(RoleOperator, http.MethodPost, "/v1/allocations/default/"+pod+"/lease?"+more, "")
}

func TestLease(t *testing.T) {
	t.Parallel()
	h := seeded(t, withLeases)
	a := h.held("web-0", "uid-1", 1)
	status := func() wire.Allocation {
		return read[wire.PodStatus](t, h.get("/v1/allocations/default/web-0")).Allocation
	}
	require.Zero(t, status().LeaseEndsInMs)
	for i, more := range []string{"podUid=uid-1", "podUid=uid-1&begin=true&fence=" + number(a.Fence), "podUid=uid-1"} {
		w := h.lease("web-0", more)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.Equal(t, wire.Lease{ClusterID: a.ClusterID, DurationMs: 300_000, Fence: a.Fence, Begun: i > 0}, read[wire.Lease](t, w), "without a promise none begins")
	}
	h.node.must(&fsmpb.Command{Body: &fsmpb.Command_Tick{Tick: &fsmpb.Tick{ElapsedMs: 60_000}}})
	require.Equal(t, int64(240_000), status().LeaseEndsInMs)

	requireProblem(t, h.lease("web-0", ""), 400, invalidField, "podUid")
	requireProblem(t, h.lease("web-0", "podUid=uid-1&fence=0"), 400, invalidField, "fence")
	requireProblem(t, h.lease("web-0", "podUid=uid-1&fence=x"), 400, invalidField, "fence")
	requireProblem(t, h.lease("web-0", "podUid=uid-2"), 409, notTheHolder, "")
	requireProblem(t, h.lease("web-1", "podUid=uid-1"), 409, notTheHolder, "")
	requireProblem(t, h.lease("web-0", "podUid=uid-1&fence="+number(a.Fence+1)), 409, notTheHolder, "")

	require.Equal(t, http.StatusNoContent, h.release("default", "web-0", a.Fence, "").Code)
	requireProblem(t, h.lease("web-0", "podUid=uid-1"), 409, notTheHolder, "")
	require.Equal(t, wire.Rest{Code: "released", Detail: "by the-operator", EndedBy: []string{
		"Kubernetes showing that all its containers ended, once the pod is deleted",
		"the end of its lease, in 4m0s of cluster time",
		"keysteward release --confirm-stopped --namespace default --pod web-0 --pod-uid uid-1",
	}}, status().Rest)
	for range 4 {
		h.node.must(&fsmpb.Command{Body: &fsmpb.Command_Tick{Tick: &fsmpb.Tick{ElapsedMs: 60_000}}})
	}
	require.Equal(t, wire.ProofKind("lease_expired"), status().Proof.Kind)
	require.Zero(t, status().LeaseEndsInMs)
	require.Equal(t, []string{"1m0s more of cluster time"}, status().Rest.EndedBy)
}

func TestLeasesAreOffUnlessAskedFor(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.held("web-0", "uid-1", 1)
	requireProblem(t, h.lease("web-0", "podUid=uid-1"), 409, leasesOff, "")
}

// What Kubernetes showed is told, and what would end the rest.
func TestRestShownByKubernetes(t *testing.T) {
	t.Parallel()
	h := seeded(t, withLeases)
	a := h.held("web-0", "uid-1", 1)
	h.node.must(&fsmpb.Command{Body: &fsmpb.Command_ObservePods{ObservePods: &fsmpb.ObservePods{
		KubernetesUid: "k", Pods: []*fsmpb.PodObservation{{
			Pod: &fsmpb.Pod{Namespace: "default", Name: "web-0", Uid: "uid-1"}, Fence: uint64(a.Fence), Node: "m1", NodeUid: "m1-uid",
			Kind: fsmpb.PodObservation_KIND_GONE, Code: "pod-gone", Detail: "it vanished",
		}},
	}}})
	got := read[wire.PodStatus](t, h.get("/v1/allocations/default/web-0")).Allocation
	require.Equal(t, "m1", got.Node)
	require.Equal(t, "pod-gone", got.Rest.Code)
	require.Len(t, got.Rest.EndedBy, 2)
	require.Contains(t, got.Rest.EndedBy[0], "out-of-service on the node m1")
	require.Contains(t, got.RestsUntil, got.Rest.EndedBy[0]+", or keysteward release")
}

// A pod that is being deleted on a machine that says nothing holds its keys, and it is
// said why that takes its time.
func TestHolderThatTakesItsTime(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	a := h.held("web-0", "uid-1", 1)
	see := func(code, detail string) wire.Allocation {
		h.node.must(&fsmpb.Command{Body: &fsmpb.Command_ObservePods{ObservePods: &fsmpb.ObservePods{
			KubernetesUid: "k", Pods: []*fsmpb.PodObservation{{
				Pod: &fsmpb.Pod{Namespace: "default", Name: "web-0", Uid: "uid-1"}, Fence: uint64(a.Fence), Node: "m1", NodeUid: "m1-uid",
				Kind: fsmpb.PodObservation_KIND_SEEN, Code: code, Detail: detail,
			}},
		}}})
		return read[wire.PodStatus](t, h.get("/v1/allocations/default/web-0")).Allocation
	}
	got := see("node-unreachable", "m1 is not ready")
	require.Equal(t, wire.AllocationStateHeld, got.State)
	require.Zero(t, got.Rest)
	require.Equal(t, wire.Rest{Code: "node-unreachable", Detail: "m1 is not ready", EndedBy: []string{
		"the machine coming back and stopping the pod",
		"the taint node.kubernetes.io/out-of-service on the node m1, once its machine is off",
		"keysteward release --confirm-stopped --namespace default --pod web-0 --pod-uid uid-1",
	}}, got.Holder)
	require.Zero(t, see("", "").Holder)
}

func TestWatermarks(t *testing.T) {
	t.Parallel()
	genesis := time.Unix(0, 0) // the clock of the tests begins there too
	chain := &Chain{GenesisTime: genesis, GenesisValidatorsRoot: [32]byte{1}, SecondsPerSlot: 12, SlotsPerEpoch: 32}
	h := seeded(t, withLeases, func(c *Config) { c.Chain = chain })
	ask := func(uid string) *responseRecorder {
		return h.post(wire.AllocationRequest{Namespace: "default", Pod: "web-0", PodUID: uid, Keys: 2, SlashingProtection: true}, "")
	}
	h.held("web-0", "uid-1", 2)
	first := read[wire.Allocation](t, ask("uid-1"))
	require.Equal(t, wire.SlashingProtection{GenesisValidatorsRoot: hexText(chain.GenesisValidatorsRoot[:]), SecondsPerSlot: 12, SlotsPerEpoch: 32},
		first.SlashingProtection, "nobody held them before")
	require.Equal(t, http.StatusAccepted, ask("uid-2").Code)
	h.release("default", "web-0", first.Fence, "&podUid=uid-1&confirmStopped=true")
	w := ask("uid-2")
	require.Equal(t, http.StatusOK, w.Code, "with watermarks it needs no wait after the proof: %s", w.Body)
	again := read[wire.Allocation](t, w)
	require.Equal(t, first.Keys, again.Keys)
	proven := time.UnixMilli(h.node.View().Key(unhex(t, first.Keys[0])).GetProvenWallMs())
	require.Equal(t, proven.Unix()/12+2, again.SlashingProtection.Slot)

	requireProblem(t, seeded(t).post(wire.AllocationRequest{Namespace: "default", Pod: "web-0", PodUID: "u", Keys: 1, SlashingProtection: true}, ""),
		409, noWatermarks, "")
}

func TestSlots(t *testing.T) {
	t.Parallel()
	c := Chain{GenesisTime: time.Unix(1000, 0), SecondsPerSlot: 12}
	for at, slot := range map[int64]int64{0: 0, 999: 0, 1000: 0, 1011: 0, 1012: 1, 1024: 2} {
		require.Equal(t, slot, c.slotAt(time.Unix(at, 0)), at)
	}
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.TrimPrefix(text, "0x"))
	require.NoError(t, err)
	return b
}

// While Kubernetes is away a pod goes on holding what it holds, by the token that let it
// in before, and can do nothing else with it.
func TestLeaseWhileKubernetesIsAway(t *testing.T) {
	t.Parallel()
	web := podtoken.Pod{Namespace: "default", Name: "web-0", UID: "uid-1"}
	h := seeded(t, withLeases, withPods(map[string]podtoken.Pod{"web-away": web}))
	h.held("web-0", "uid-1", 1)
	as := func(name, method, path string) *responseRecorder {
		return h.do("", method, path, "", bearing(podToken(name)))
	}
	const lease = "/v1/allocations/default/web-0/lease"
	require.Equal(t, http.StatusOK, as("web-away", http.MethodPost, lease).Code)
	requireProblem(t, as("stranger-away", http.MethodPost, lease), 503, kubernetesAway, "")
	requireProblem(t, as("web-away", http.MethodGet, "/v1/allocations/default/web-0"), 503, kubernetesAway, "")
	requireProblem(t, as("web-away", http.MethodDelete, "/v1/allocations/default/web-0?fence=1"), 503, kubernetesAway, "")
}
