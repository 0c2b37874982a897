package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
)

func TestAllocationFromRequestToGrant(t *testing.T) {
	t.Parallel()
	h := newHarness(t)

	w := h.allocate("web-0", "uid-1", 3, "")
	require.Equal(t, http.StatusAccepted, w.Code)
	require.Equal(t, "5", w.Header().Get("Retry-After"), "only a person can help")
	p := read[wire.PendingAllocation](t, w)
	require.Equal(t, "seed-missing", p.Reason.Code)
	require.Equal(t, []int{3, 0, 0, 0, 3}, counts(p))

	require.NoError(t, h.node.installSeed(testSeed().Fingerprint()))
	p = read[wire.PendingAllocation](t, h.allocate("web-0", "uid-1", 3, ""))
	require.Equal(t, "generating", p.Reason.Code)

	h.node.generate()
	w = h.allocate("web-0", "uid-1", 3, "")
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	p = read[wire.PendingAllocation](t, w)
	require.Equal(t, "depositing", p.Reason.Code)
	require.Equal(t, []int{3, 0, 0, 3, 0}, counts(p))
	require.Contains(t, p.Reason.Detail, "3 to be signed, 0 signed")

	h.node.deposit("too-little-money", "the account has 1 ETH, 96 are needed")
	w = h.allocate("web-0", "uid-1", 3, "")
	require.Equal(t, "5", w.Header().Get("Retry-After"))
	p = read[wire.PendingAllocation](t, w)
	require.Equal(t, "too-little-money", p.Reason.Code)
	require.Contains(t, p.Reason.Detail, "96 are needed")
	require.False(t, p.Reason.Since.IsZero())

	h.node.deposit("", "")
	h.node.sign()
	p = read[wire.PendingAllocation](t, h.allocate("web-0", "uid-1", 3, ""))
	require.Contains(t, p.Reason.Detail, "0 to be signed, 3 signed")

	h.node.pay()
	w = h.allocate("web-0", "uid-1", 3, "")
	require.Equal(t, http.StatusOK, w.Code)
	a := read[wire.Allocation](t, w)
	require.Equal(t, "cluster-1", a.ClusterID)
	require.Equal(t, wire.AllocationStateHeld, a.State)
	require.Positive(t, a.Fence)
	require.Len(t, a.Keys, 3)
	require.Zero(t, a.Secrets, "nobody asked for secrets")
	for i, pubkey := range pubkeys(0, 3) {
		require.Equal(t, fmt.Sprintf("0x%x", pubkey), a.Keys[i])
	}
	require.Equal(t, a, read[wire.Allocation](t, h.allocate("web-0", "uid-1", 3, "")), "the order of the answer never changes")
	require.Equal(t, a, read[wire.Allocation](t, h.allocate("web-0", "uid-1", 1, "")), "fewer takes nothing away")
}

func counts(p wire.PendingAllocation) []int {
	return []int{p.Keys, p.Held, p.Ready, p.Depositing, p.Missing}
}

func TestTopUpCountsWhatIsHeldAndReady(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.held("web-0", "uid-1", 2)
	h.held("spare", "uid-s", 1)
	require.Equal(t, http.StatusNoContent, h.release("default", "spare", h.fence("spare"), "").Code)

	p := read[wire.PendingAllocation](t, h.allocate("web-0", "uid-1", 4, ""))
	require.Equal(t, []int{4, 2, 1, 0, 1}, counts(p))
	h.node.finish()
	a := read[wire.Allocation](t, h.allocate("web-0", "uid-1", 4, ""))
	require.Len(t, a.Keys, 4)
}

// Repeats while a request waits cost no log entry: thousands of pods may poll.
func TestRepeatOfWaitingRequestProposesNothing(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.allocate("web-0", "uid-1", 2, "")
	require.Equal(t, 1, h.node.proposals())
	require.Zero(t, h.node.barriers, "the command was as good as a Barrier")
	for range 5 {
		require.Equal(t, http.StatusAccepted, h.allocate("web-0", "uid-1", 2, "").Code)
		require.Equal(t, http.StatusAccepted, h.allocate("web-0", "uid-1", 1, "").Code)
	}
	require.Equal(t, 1, h.node.proposals())
	require.Equal(t, 10, h.node.barriers, "the leader was confirmed each time")
	h.allocate("web-0", "uid-1", 3, "")
	require.Equal(t, 2, h.node.proposals(), "more is a change")
	h.allocate("web-0", "uid-2", 3, "")
	require.Equal(t, 3, h.node.proposals(), "another UID is a change")
}

func TestReasonsCountInWords(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64][3]string{
		1: {"1 key is being generated", "1 deposit is under way: 1 to be signed", "still holds 1 key,"},
		2: {"2 keys are being generated", "2 deposits are under way: 2 to be signed", "still holds 2 keys,"},
	} {
		h := seeded(t)
		say := func(uid string) string {
			return read[wire.PendingAllocation](t, h.allocate("web-0", uid, n, "")).Reason.Detail
		}
		require.Equal(t, want[0], say("uid-1"))
		h.node.generate()
		require.Contains(t, say("uid-1"), want[1])
		h.node.pay()
		require.Equal(t, http.StatusOK, h.allocate("web-0", "uid-1", n, "").Code)
		require.Contains(t, say("uid-2"), want[2])
	}
}

func TestAnotherUIDWaitsForTheFirst(t *testing.T) {
	t.Parallel()
	h := seeded(t, func(c *Config) { c.Witness = WitnessOperator })
	first := h.held("web-0", "uid-1", 2)

	w := h.allocate("web-0", "uid-2", 2, "")
	require.Equal(t, http.StatusAccepted, w.Code)
	p := read[wire.PendingAllocation](t, w)
	require.Equal(t, "other-uid", p.Reason.Code)
	require.Contains(t, p.Reason.Detail, "uid-1 still holds 2 keys")
	require.Equal(t, []int{2, 0, 0, 0, 2}, counts(p))
	require.Zero(t, h.node.View().Shortfall(), "nothing new is planned")

	require.Equal(t, http.StatusNoContent, h.release("default", "web-0", first.Fence, "").Code)
	p = read[wire.PendingAllocation](t, h.allocate("web-0", "uid-2", 2, ""))
	require.Equal(t, "other-uid", p.Reason.Code)
	require.Contains(t, p.Reason.Detail, "until there is proof")

	require.Equal(t, http.StatusNoContent, h.release("default", "web-0", h.fence("web-0"), "&podUid=uid-1&confirmStopped=true").Code)
	second := read[wire.Allocation](t, h.allocate("web-0", "uid-2", 2, ""))
	require.Equal(t, first.Keys, second.Keys, "its own keys back")
	require.Greater(t, second.Fence, first.Fence)
}

func TestHolderBehindWhomAnotherUIDWaits(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.held("web-0", "uid-1", 2)
	h.allocate("web-0", "uid-2", 2, "")
	require.Equal(t, http.StatusOK, h.allocate("web-0", "uid-1", 2, "").Code, "it still holds them")
	_, recipient := newRecipient(t, wire.KEMX25519)
	w := h.post(wire.AllocationRequest{Namespace: "default", Pod: "web-0", PodUID: "uid-1", Keys: 2, Recipient: recipient}, "")
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "key.disclose", lastAudit(h.node.View()).GetAction())
}

// Between the command and the answer the request may change hands or vanish.
func TestRequestThatIsOutrun(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	ask := allocationBody{AllocationRequest: wire.AllocationRequest{Namespace: "default", Pod: "web-0", PodUID: "uid-1", Keys: 2}}
	p := pending(h.node.View(), ask)
	require.Contains(t, p.Reason.Detail, "withdrawn meanwhile")
	require.Equal(t, []int{2, 0, 0, 0, 2}, counts(p))
	h.allocate("web-0", "uid-2", 2, "")
	p = pending(h.node.View(), ask)
	require.Equal(t, "other-uid", p.Reason.Code)
	require.Equal(t, "uid-1", p.PodUID)
}

func TestCommandCarriesCallerAndRequestID(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.post(wire.AllocationRequest{Namespace: "default", Pod: "web-0", PodUID: "u", Keys: 1}, "", header("X-Request-Id", "my-id-1"))
	cmd := h.node.proposed[0]
	require.Equal(t, "my-id-1", cmd.GetRequestId())
	require.Equal(t, "the-operator", cmd.GetCaller().GetName())
	require.Equal(t, "operator", cmd.GetCaller().GetRole())
	require.Equal(t, "192.0.2.1", cmd.GetCaller().GetRemote())
	require.False(t, cmd.GetAllocate().GetDisclose())
}

func TestOutcomesOfProposing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err    error
		status int
		kind   kind
	}{
		"unknown":        {fmt.Errorf("raft: %w", node.ErrUnknownOutcome), 503, outcomeUnknown},
		"abandoned":      {context.DeadlineExceeded, 503, outcomeUnknown},
		"canceled":       {fmt.Errorf("x: %w", context.Canceled), 503, outcomeUnknown},
		"not leader":     {fmt.Errorf("x: %w", node.ErrNotLeader), 503, noLeader},
		"stale session":  {fmt.Errorf("x: %w", &fsm.Refusal{Code: fsm.StaleSession, Detail: "7"}), 503, noLeader},
		"too large":      {fmt.Errorf("x: %w", node.ErrTooLarge), 413, bodyTooLarge},
		"refused":        {&fsm.Refusal{Code: fsm.Invalid, Detail: "no"}, 400, invalidField},
		"odd refusal":    {&fsm.Refusal{Code: fsm.StaleIndex, Detail: "5"}, 500, internal},
		"something else": {errors.New("disk on fire, password hunter2"), 500, internal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := seeded(t)
			h.node.onPropose = func(func() (any, error)) (any, error) { return nil, c.err }
			w := h.allocate("web-0", "u", 1, "")
			p := requireProblem(t, w, c.status, c.kind, "")
			require.Equal(t, c.status == 503, w.Header().Get("Retry-After") != "")
			require.NotContains(t, p.Detail, "hunter2", "what is not known is told to the log only")
		})
	}
}

// The command was applied, but nobody learnt it: the repeat joins it.
func TestRepeatAfterUnknownOutcomePlansNothingMore(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.node.onPropose = func(apply func() (any, error)) (any, error) {
		_, _ = apply()
		return nil, node.ErrUnknownOutcome
	}
	requireProblem(t, h.allocate("web-0", "u", 4, ""), 503, outcomeUnknown, "")
	h.node.onPropose = nil
	p := read[wire.PendingAllocation](t, h.allocate("web-0", "u", 4, ""))
	require.Equal(t, 4, p.Missing)
	require.Equal(t, 4, h.node.View().Shortfall())
}

func TestLeadershipLostWhileProposing(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.node.onPropose = func(func() (any, error)) (any, error) {
		h.node.follow("node-b", "https://b.example:7400")
		return nil, node.ErrNotLeader
	}
	w := h.allocate("web-0", "u", 1, "?wait=1s")
	requireProblem(t, w, http.StatusTemporaryRedirect, notLeader, "")
	require.Equal(t, "https://b.example:7400/v1/allocations?wait=1s", w.Header().Get("Location"))
}

func TestBarrierThatFails(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.allocate("web-0", "u", 1, "")
	h.node.onBarrier = func(context.Context) error { return fmt.Errorf("barrier: %w", context.DeadlineExceeded) }
	requireProblem(t, h.allocate("web-0", "u", 1, ""), 503, noLeader, "")
	requireProblem(t, h.get("/v1/keys"), 503, noLeader, "")
	require.Equal(t, 200, h.get("/v1/keys?consistency=stale").Code)
}

func (h *harness) release(namespace, pod string, fence int64, more string) *responseRecorder {
	h.Helper()
	return h.do(RoleOperator, http.MethodDelete, fmt.Sprintf("/v1/allocations/%s/%s?fence=%d%s", namespace, pod, fence, more), "")
}

// fence of the allocation of default/<pod>, from the state.
func (h *harness) fence(pod string) int64 {
	return signed(h.node.View().Allocation("default", pod).GetFence())
}

func lastAudit(v *fsm.View) *fsmpb.Audit {
	var last *fsmpb.Audit
	for a := range v.Audit(0) {
		last = a
	}
	return last
}
