package api

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestReleaseWithoutOtherWitness(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	a := h.held("web-0", "uid-1", 2)
	requireProblem(t, h.release("default", "web-0", a.Fence-1, ""), 409, staleFence, "")
	requireProblem(t, h.release("default", "web-0", a.Fence+1, ""), 409, staleFence, "")
	requireProblem(t, h.release("default", "web-1", a.Fence, ""), 404, notFound, "")
	requireProblem(t, h.release("other", "web-0", a.Fence, ""), 404, notFound, "")
	w := h.release("default", "web-0", a.Fence, "")
	require.Equal(t, http.StatusNoContent, w.Code)
	require.Zero(t, w.Body.Len())
	requireProblem(t, h.release("default", "web-0", a.Fence, ""), 404, notFound, "")
	require.Equal(t, int64(2), read[wire.KeyPage](t, h.get("/v1/keys")).Counts["free"])
}

func TestWhatCountsAsProof(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		witness, more string
		rest          time.Duration
		want          *fsmpb.Proof
	}{
		"none":               {WitnessNone, "", 0, &fsmpb.Proof{Kind: fsmpb.Proof_KIND_CALLER, By: "the-operator"}},
		"none, confirmed":    {WitnessNone, "&podUid=uid-1&confirmStopped=true", time.Minute, &fsmpb.Proof{Kind: fsmpb.Proof_KIND_OPERATOR, By: "the-operator"}},
		"operator":           {WitnessOperator, "", time.Minute, nil},
		"operator, no":       {WitnessOperator, "&confirmStopped=false", 0, nil},
		"operator confirmed": {WitnessOperator, "&podUid=uid-1&confirmStopped=true", 0, &fsmpb.Proof{Kind: fsmpb.Proof_KIND_OPERATOR, By: "the-operator"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := seeded(t, func(cfg *Config) { cfg.Witness, cfg.RestAfterProof = c.witness, c.rest })
			a := h.held("web-0", "uid-1", 1)
			require.Equal(t, http.StatusNoContent, h.release("default", "web-0", a.Fence, c.more).Code)
			r := h.node.proposed[len(h.node.proposed)-1].GetRelease()
			require.Equal(t, c.want.GetKind(), r.GetProof().GetKind())
			require.Equal(t, c.want.GetBy(), r.GetProof().GetBy())
			require.Equal(t, uint64(c.rest.Milliseconds()), r.GetWaitMs())
			require.Equal(t, uint64(a.Fence), r.GetFence())
		})
	}
}

func TestRestIsTold(t *testing.T) {
	t.Parallel()
	h := seeded(t, func(c *Config) { c.Witness, c.RestAfterProof = WitnessOperator, 384*time.Second })
	a := h.held("web-0", "uid-1", 1)
	h.release("default", "web-0", a.Fence, "")
	s := read[wire.PodStatus](t, h.get("/v1/allocations/default/web-0"))
	require.Equal(t, wire.AllocationStateResting, s.Allocation.State)
	require.Regexp(t, "^there is proof", s.Allocation.RestsUntil, "goes on after until")

	h.release("default", "web-0", s.Allocation.Fence, "&podUid=uid-1&confirmStopped=true")
	s = read[wire.PodStatus](t, h.get("/v1/allocations/default/web-0"))
	require.Equal(t, "6m24s more of cluster time have passed; proof by the-operator", s.Allocation.RestsUntil)
	h.node.must(&fsmpb.Command{Body: &fsmpb.Command_Tick{Tick: &fsmpb.Tick{ElapsedMs: 60_000}}})
	s = read[wire.PodStatus](t, h.get("/v1/allocations/default/web-0"))
	require.Contains(t, s.Allocation.RestsUntil, "5m24s more")
	require.Equal(t, wire.KeyStateResting, read[wire.Key](t, h.get("/v1/keys/"+a.Keys[0])).State)
}

// Whoever repeats the word that a pod is stopped, and looks the fence up anew,
// does not vouch for the next pod of that name.
func TestReleaseOfAUIDLeavesTheNextAlone(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.held("web-0", "uid-1", 1)
	require.Equal(t, http.StatusAccepted, h.allocate("web-0", "uid-2", 1, "").Code)
	const stopped = "&confirmStopped=true&podUid=uid-1"
	require.Equal(t, http.StatusNoContent, h.release("default", "web-0", h.fence("web-0"), stopped).Code)
	next := h.node.View().Allocation("default", "web-0")
	require.Equal(t, "uid-2", next.GetPod().GetUid())

	for _, fence := range []int64{0, h.fence("web-0")} {
		w := h.release("default", "web-0", fence, stopped)
		require.Contains(t, requireProblem(t, w, 404, notFound, "").Detail, "uid-1 of pod default/web-0 holds nothing")
		requireProblem(t, h.release("default", "web-0", fence, "&podUid=uid-1"), 404, notFound, "")
	}
	require.Equal(t, next, h.node.View().Allocation("default", "web-0"), "nothing changed")

	h.allocate("web-1", "uid-1", 1, "")
	requireProblem(t, h.release("default", "web-1", 0, "&podUid=uid-2"), 404, notFound, "")
	require.Equal(t, http.StatusNoContent, h.release("default", "web-1", 0, "&podUid=uid-1").Code)
}

func TestWithdrawingARequest(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.allocate("web-0", "uid-1", 2, "")
	requireProblem(t, h.release("default", "web-0", 5, ""), 409, staleFence, "")
	require.Equal(t, http.StatusNoContent, h.release("default", "web-0", 0, "").Code)
	requireProblem(t, h.get("/v1/allocations/default/web-0"), 404, notFound, "")
	require.Zero(t, h.node.View().Shortfall())
}
