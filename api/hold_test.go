package api

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
)

type responseRecorder = httptest.ResponseRecorder

// errRefused is an outcome that changes nothing and is nobody's fault but the caller's.
var errRefused = &fsm.Refusal{Code: fsm.Invalid, Detail: "refused by the test"}

// newPost sends an arbitrary body.
func newPost(t *testing.T, h *harness, data []byte, wait string) *responseRecorder {
	t.Helper()
	return h.do(RoleOperator, http.MethodPost, "/v1/allocations?"+url.Values{"wait": {wait}}.Encode(), string(data),
		header("Content-Type", "application/json"))
}

// holding sends a request that is held, and lets do happen once it is.
func holding(t *testing.T, h *harness, do func(), options ...requestOption) (*responseRecorder, time.Duration) {
	t.Helper()
	start := time.Now()
	answered := make(chan *responseRecorder, 1)
	go func() {
		answered <- h.post(wire.AllocationRequest{Namespace: "default", Pod: "web-0", PodUID: "u", Keys: 2}, "?wait=30s", options...)
	}()
	synctest.Wait()
	require.Empty(t, answered, "the request is held")
	require.Equal(t, 1, h.server.holds.held())
	do()
	w := <-answered
	require.Zero(t, h.server.holds.held())
	return w, time.Since(start)
}

func TestHeldRequestWakesOnGrant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := seeded(t)
		w, took := holding(t, h, h.node.finish)
		require.Equal(t, http.StatusOK, w.Code)
		require.Len(t, read[wire.Allocation](t, w).Keys, 2)
		require.Zero(t, took, "at once")
		require.Equal(t, 2, h.node.proposals(), "the grant is a command: it records who was told")
	})
}

func TestHeldRequestGivesUpAfterItsWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := seeded(t)
		w, took := holding(t, h, func() { h.node.generate() }) // a change, but no grant
		require.Equal(t, http.StatusAccepted, w.Code)
		require.Equal(t, "depositing", read[wire.PendingAllocation](t, w).Reason.Code, "as of the end, not the beginning")
		require.Equal(t, 30*time.Second, took)
		require.Equal(t, 1, h.node.proposals())
		require.Equal(t, 1, h.node.barriers)
	})
}

// Another reason is news; other words for the same one are not.
func TestHeldRequestEndsWithTheReason(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := seeded(t)
		w, took := holding(t, h, func() {
			h.node.generate()
			synctest.Wait()
			require.Equal(t, 1, h.server.holds.held(), "progress is no news")
			h.node.deposit("insufficient-funds", "block 1")
		})
		require.Equal(t, http.StatusAccepted, w.Code)
		require.Equal(t, "insufficient-funds", read[wire.PendingAllocation](t, w).Reason.Code)
		require.Zero(t, took, "at once")

		w, took = holding(t, h, func() {
			for block := range 5 {
				<-time.After(time.Second)
				h.node.deposit("insufficient-funds", fmt.Sprintf("block %d", block+2))
				synctest.Wait()
				require.Equal(t, 1, h.server.holds.held(), "the same reason")
			}
			h.node.deposit("", "")
		})
		require.Equal(t, "depositing", read[wire.PendingAllocation](t, w).Reason.Code)
		require.Equal(t, 5*time.Second, took)
		require.Equal(t, 1, h.node.proposals(), "none of it costs a command")
	})
}

func TestHeldRequestEndsWithTheSeed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		w, took := holding(t, h, func() { require.NoError(t, h.node.installSeed("f")) })
		require.Equal(t, "generating", read[wire.PendingAllocation](t, w).Reason.Code)
		require.Zero(t, took)
	})
}

func TestHeldRequestEndsWithTheServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := seeded(t)
		w, took := holding(t, h, h.server.stop)
		require.Equal(t, http.StatusAccepted, w.Code)
		require.Zero(t, took)
		require.Equal(t, http.StatusAccepted, h.allocate("web-1", "u", 1, "?wait=30s").Code, "none is held any more")
		require.Zero(t, time.Since(time.Now()))
	})
}

func TestHeldRequestEndsWithLeadership(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		leader, api string
		status      int
	}{
		"to another":    {"node-b", "https://b.example:7400", http.StatusTemporaryRedirect},
		"to nobody":     {"", "", http.StatusServiceUnavailable},
		"to an unknown": {"node-c", "", http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := seeded(t)
				w, took := holding(t, h, func() { h.node.follow(c.leader, c.api) })
				require.Equal(t, c.status, w.Code)
				require.LessOrEqual(t, took, leadershipChecked)
			})
		})
	}
}

func TestHeldRequestEndsWithTheCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := seeded(t)
		ctx, cancel := context.WithCancel(t.Context())
		w, took := holding(t, h, cancel, within(ctx))
		require.Equal(t, statusClientGone, w.Code)
		require.Zero(t, took)
	})
}

func TestHeldRequestEndsWithTheState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := seeded(t)
		w, took := holding(t, h, func() {
			require.Equal(t, http.StatusNoContent, h.release("default", "web-0", 0, "").Code)
			synctest.Wait()
			h.node.finish()
		})
		require.Equal(t, http.StatusOK, w.Code, "withdrawn by somebody, asked for again by the one who waits")
		require.Zero(t, took)
	})
}

func TestTooManyHeldRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := seeded(t, func(c *Config) { c.MaxHeld = 1 })
		holding(t, h, func() {
			requireProblem(t, h.allocate("web-1", "u", 1, "?wait=5s"), 503, overloaded, "")
			require.Equal(t, http.StatusAccepted, h.allocate("web-1", "u", 1, "").Code, "without wait it is answered")
			h.node.finish()
		})
	})
}

// All that wait share one watch of the leadership, which ends with the last.
func TestManyHeldRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := seeded(t)
		codes := make(chan int, 50)
		for i := range 50 {
			go func() { codes <- h.allocate(fmt.Sprintf("web-%d", i), "u", 1, "?wait=1m").Code }()
		}
		synctest.Wait()
		require.Equal(t, 50, h.server.holds.held())
		h.node.finish()
		for range 50 {
			require.Equal(t, http.StatusOK, <-codes)
		}
		require.Nil(t, h.server.holds.reign)
	})
}
