package api

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
)

// waitFor asks for the kubeconfig of r1 with ?wait, and lets do happen once that is held.
func waitFor(t *testing.T, h *harness, do func(), options ...requestOption) (*responseRecorder, time.Duration) {
	t.Helper()
	start := time.Now()
	answered := make(chan *responseRecorder, 1)
	go func() { answered <- h.kubeconfig(ofR1+"?wait=30s", options...) }()
	synctest.Wait()
	require.Empty(t, answered, "the request is held")
	require.Equal(t, 1, h.server.holds.held())
	do()
	w := <-answered
	require.Zero(t, h.server.holds.held())
	return w, time.Since(start)
}

func TestHeldKubeconfig(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do    func(h *harness)
		code  int
		after time.Duration
	}{
		"issued": {func(h *harness) {
			key := h.install()
			h.request("r1")
			synctest.Wait()
			require.Equal(h, 1, h.server.holds.held(), "a step is no answer")
			h.issue("r1", key, time.Hour)
		}, http.StatusOK, 0},
		"denied":           {func(h *harness) { h.install(); h.request("r1"); h.see("r1", sawDenial) }, http.StatusConflict, 0},
		"terminated":       {func(h *harness) { h.node.must(actOn(fsmpb.ActOnCloud_ACTION_TERMINATE)) }, http.StatusConflict, 0},
		"nothing":          {func(*harness) {}, http.StatusAccepted, 30 * time.Second},
		"the server stops": {func(h *harness) { h.server.stop() }, http.StatusAccepted, 0},
		"another cloud changes": {func(h *harness) {
			h.made("/v2/projects/p/logical-clouds", `{"metadata":{"name":"d"},"spec":{"namespace":"ns","user":{"userName":"jane"}}}`)
		}, http.StatusAccepted, 30 * time.Second},
		"another node leads": {func(h *harness) { h.node.follow("node-b", "https://b.example:7400") }, http.StatusTemporaryRedirect, leadershipChecked},
		"no node leads":      {func(h *harness) { h.node.follow("", "") }, http.StatusServiceUnavailable, leadershipChecked},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t)
				h.withCloud()
				h.act("instantiate")
				w, took := waitFor(t, h, func() { c.do(h) })
				require.Equal(t, c.code, w.Code, w.Body)
				require.Equal(t, c.after, took)
				switch c.code {
				case http.StatusOK:
					loaded(t, w)
				case http.StatusAccepted:
					require.Equal(t, "key", read[wire.PendingKubeconfig](t, w).Reason)
				case http.StatusTemporaryRedirect:
					require.Equal(t, "https://b.example:7400"+cloudUnderTest+ofR1+"?wait=30s", w.Header().Get("Location"))
				}
				h.server.stop()
			})
		})
	}
}

// Who may no longer have it when it is there does not get it.
func TestHeldKubeconfigOfACallerWhoIsNoneAnyMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.withCloud()
		h.act("instantiate")
		token := h.state("ci", RoleOperator, time.Time{})
		var before int
		w, _ := waitFor(t, h, func() {
			h.revoke(token)
			before = h.node.proposals()
			key := h.install()
			h.request("r1")
			h.issue("r1", key, time.Hour)
		}, bearing(token))
		requireProblem(t, w, http.StatusUnauthorized, unauthenticated, "")
		require.Equal(t, before, h.node.proposals(), "nothing was disclosed, or recorded as such")
		h.server.stop()
	})
}

func TestHeldKubeconfigWhoseCallerLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.withCloud()
		h.act("instantiate")
		ctx, leave := context.WithCancel(t.Context())
		w, took := waitFor(t, h, leave, within(ctx))
		require.Equal(t, statusClientGone, w.Code)
		require.Zero(t, took)
		h.server.stop()
	})
}

// A node that thinks that it leads has no last word: it says nothing of its old state.
func TestKubeconfigOfAnOldLeader(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.withCloud()
	h.node.onBarrier = func(context.Context) error {
		h.node.follow("node-b", "https://b.example:7400")
		return node.ErrNotLeader
	}
	for _, target := range []string{ofR1, ofR1 + "?exec=true", "/cluster-references/none/kubeconfig"} {
		require.Equal(t, http.StatusTemporaryRedirect, h.kubeconfig(target).Code, target)
	}
}

// The same kubeconfig again and again costs records; a loop must not drive others out.
func TestTheSameKubeconfigAgainAndAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.withCloud()
		h.ready()
		for range disclosuresBurst {
			require.Equal(t, http.StatusOK, h.kubeconfig(ofR1).Code)
		}
		before := h.node.proposals()
		w := h.kubeconfig(ofR1)
		requireProblem(t, w, http.StatusTooManyRequests, tooManyRequests, "")
		require.Equal(t, "1", w.Header().Get("Retry-After"))
		require.Equal(t, before, h.node.proposals())
		require.Equal(t, http.StatusOK, h.kubeconfig(ofAll).Code, "another one")
		require.Equal(t, http.StatusOK, h.do(RoleAdmin, http.MethodGet, cloudUnderTest+ofR1, "").Code, "another caller")
		<-time.After(time.Second)
		require.Equal(t, http.StatusOK, h.kubeconfig(ofR1).Code)
		h.server.stop()
	})
}
