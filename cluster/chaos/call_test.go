package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/cluster/chaos/history"
)

// newTestCaller asks two nodes of which each answers as it is told.
func newTestCaller(t *testing.T, first, second http.HandlerFunc) *caller {
	t.Helper()
	c := &caller{id: 1, token: "secret", http: newClient(), rec: history.NewRecorder(), seen: &seen{}, pids: func(i int) int { return 100 + i }}
	for _, h := range []http.HandlerFunc{first, second} {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		c.apis = append(c.apis, s.URL)
	}
	return c
}

func problem(status int, kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(wire.Problem{Type: kind, Status: status})
	}
}

func granted(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write([]byte(`{"clusterId":"c","podUid":"u","fence":3,"keys":["k"]}`))
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer  http.HandlerFunc
		outcome history.Outcome
		why     string
	}{
		"done":      {granted, history.Done, ""},
		"pending":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }, history.Done, ""},
		"unknown":   {problem(503, "outcome-unknown"), history.Unknown, "outcome-unknown"},
		"no leader": {problem(503, "no-leader"), history.Refused, "no-leader"},
		"stale":     {problem(409, "stale-fence"), history.Refused, "stale-fence"},
		"internal":  {problem(500, "internal"), history.Unknown, "internal, request "},
		"nonsense":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, history.Unknown, "status 502"},
		"broken off": {func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		}, history.Unknown, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTestCaller(t, c.answer, http.NotFound)
			o := x.allocate(t.Context(), 0, "p", "u", 1)
			require.Equal(t, c.outcome, o.Outcome)
			require.Contains(t, o.Why, c.why)
			require.Equal(t, 100, o.PID)
			require.Equal(t, []history.Op{o}, x.rec.Ops())
			require.Less(t, o.Begin, o.End)
		})
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	x := newTestCaller(t, granted, granted)
	x.apis[0] = "http://127.0.0.1:1"
	require.Equal(t, history.Refused, x.allocate(t.Context(), 0, "p", "u", 1).Outcome, "it was never sent")
	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, history.Unknown, x.allocate(over, 1, "p", "u", 1).Outcome)
}

func TestRedirectIsFollowedOnce(t *testing.T) {
	t.Parallel()
	var x *caller
	var asked atomic.Int32
	astray := func(to int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			w.Header().Set("Location", x.apis[to]+r.URL.RequestURI())
			problem(http.StatusTemporaryRedirect, "not-leader")(w, r)
		}
	}
	x = newTestCaller(t, astray(1), granted)
	o := x.allocate(t.Context(), 0, "p", "u", 1)
	require.Equal(t, history.Done, o.Outcome)
	require.Equal(t, 1, o.Node)
	require.Equal(t, int32(1), x.seen.leader.Load())

	x = newTestCaller(t, astray(1), astray(0))
	asked.Store(0)
	o = x.allocate(t.Context(), 0, "p", "u", 1)
	require.Equal(t, history.Refused, o.Outcome)
	require.Equal(t, int32(2), asked.Load())
}

func TestReads(t *testing.T) {
	t.Parallel()
	x := newTestCaller(t, problem(404, "not-found"), func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Keysteward-Applied-Index", "17")
		status := wire.PodStatus{Pending: wire.PendingAllocation{PodUID: "v"}}
		if r.URL.Query().Get("consistency") == "stale" {
			status.Allocation = wire.Allocation{ClusterID: "c", PodUID: "u", Fence: 3, State: wire.AllocationStateResting, Proof: wire.Proof{Kind: wire.ProofKind("operator")}}
		}
		_ = json.NewEncoder(w).Encode(status)
	})
	o := x.read(t.Context(), 0, "p", history.Read)
	require.Equal(t, history.Done, o.Outcome)
	require.Nil(t, o.Held)
	o = x.read(t.Context(), 1, "p", history.Read)
	require.Nil(t, o.Held)
	require.Equal(t, "v", o.Waiting)
	o = x.read(t.Context(), 1, "p", history.StaleRead)
	require.True(t, o.Held.Proven)
	require.True(t, o.Held.Resting)
	require.Equal(t, uint64(17), o.Index)
}
