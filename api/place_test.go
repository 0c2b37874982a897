package api

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Every route that only the leader can answer, with its query.
var leaderOnly = []string{
	"POST /v1/allocations?wait=5s", "DELETE /v1/allocations/default/web-0?fence=3&confirmStopped=true",
	"GET /v1/allocations", "GET /v1/allocations/default/web-0?consistency=linearizable", "GET /assignments?consistency=linearizable",
	"GET /v1/keys?state=free&limit=5", "GET /v1/deposits", "GET /v1/seed", "PUT /v1/seed",
	"GET /v1/keys/0x" + "abababababababababababababababababababababababababababababababababababababababababababababababab",
}

func TestFollowerRedirectsToTheLeader(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.node.follow("node-b", "https://b.example:7400")
	for _, line := range leaderOnly {
		method, target, _ := strings.Cut(line, " ")
		w := h.do(RoleAdmin, method, target, "")
		requireProblem(t, w, http.StatusTemporaryRedirect, notLeader, "")
		require.Equal(t, "https://b.example:7400"+target, w.Header().Get("Location"))
		require.Empty(t, w.Header().Get("Retry-After"))
		require.Equal(t, http.StatusUnauthorized, h.do("", method, target, "").Code, "strangers are told nothing: %s", line)
	}
	require.Zero(t, h.node.proposals())
}

func TestWithoutLeader(t *testing.T) {
	t.Parallel()
	for name, leader := range map[string][2]string{
		"nobody leads":                  {"", ""},
		"leader has not told its URL":   {"node-b", ""},
		"leads itself without session":  {"node-a", ""},
		"leads itself, its own URL too": {"node-a", "https://a.example:7400"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := seeded(t)
			h.node.follow(leader[0], leader[1])
			for _, line := range leaderOnly {
				method, target, _ := strings.Cut(line, " ")
				w := h.do(RoleAdmin, method, target, "")
				requireProblem(t, w, http.StatusServiceUnavailable, noLeader, "")
				require.Equal(t, "1", w.Header().Get("Retry-After"))
				require.Empty(t, w.Header().Get("Location"))
			}
		})
	}
}

func TestRedirectLeadsOnlyToTheLeader(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.node.follow("node-b", "https://b.example:7400")
	w := h.get("http://evil.example/v1/keys?limit=2")
	require.Equal(t, "https://b.example:7400/v1/keys?limit=2", w.Header().Get("Location"))
}

func TestStaleReads(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.held("web-0", "u", 1)
	h.node.follow("node-b", "https://b.example:7400")
	for _, target := range []string{
		"/v1/allocations?consistency=stale", "/v1/allocations/default/web-0?consistency=stale", "/v1/keys?consistency=stale",
		"/v1/deposits?consistency=stale", "/assignments", "/allocations", "/v1/cluster",
	} {
		w := h.get(target)
		require.Equal(t, http.StatusOK, w.Code, target)
		require.Equal(t, "120", w.Header().Get("X-Keysteward-Age-Ms"), target)
		require.NotEmpty(t, w.Header().Get("X-Keysteward-Applied-Index"), target)
	}
	for _, contact := range []time.Duration{-1, -time.Hour} {
		h.node.mu.Lock()
		h.node.status.LastContact = contact
		h.node.mu.Unlock()
		require.Equal(t, "-1", h.get("/assignments").Header().Get("X-Keysteward-Age-Ms"))
	}
}

func TestLinearizableReadsConfirmTheLeader(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	w := h.get("/v1/keys")
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "0", w.Header().Get("X-Keysteward-Age-Ms"))
	require.Equal(t, 1, h.node.barriers)
	h.get("/v1/keys?consistency=linearizable")
	h.get("/assignments?consistency=linearizable")
	require.Equal(t, 3, h.node.barriers)
	h.get("/assignments")
	h.get("/v1/keys?consistency=stale")
	h.get("/v1/cluster")
	require.Equal(t, 3, h.node.barriers)
}

func TestSignedSaturates(t *testing.T) {
	t.Parallel()
	require.Equal(t, int64(1<<63-1), signed(1<<63))
	require.Equal(t, int64(5), signed(5))
}
