package api

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
)

// Each time that a pod is given its keys is a command and a record. A pod in a loop
// must not fill the log with them, and everybody else goes on.
func TestTheSameKeysAgainAndAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := seeded(t)
		h.held("web", "u", 2) // which is the first time
		h.held("db", "u", 1)
		proposals := h.node.proposals()
		again := func() int {
			w := h.allocate("web", "u", 2, "")
			if w.Code != http.StatusOK {
				requireProblem(t, w, http.StatusTooManyRequests, tooManyRequests, "")
				require.Equal(t, "5", w.Header().Get("Retry-After"))
			}
			return w.Code
		}
		codes := map[int]int{}
		for range 100 {
			codes[again()]++
		}
		require.Equal(t, map[int]int{http.StatusOK: repeatsBurst - 1, http.StatusTooManyRequests: 101 - repeatsBurst}, codes)
		require.Equal(t, proposals+repeatsBurst-1, h.node.proposals(), "what is refused costs no command")
		require.Equal(t, http.StatusOK, h.allocate("db", "u", 1, "").Code, "others are not concerned")
		<-time.After(5 * time.Second)
		require.Equal(t, http.StatusOK, again())
		require.Equal(t, http.StatusTooManyRequests, again())

		require.Equal(t, http.StatusAccepted, h.allocate("web", "u", 3, "").Code, "more keys are something else")
		h.node.finish()
		require.Equal(t, http.StatusOK, h.allocate("web", "u", 3, "").Code, "a new fence")
		fence := read[wire.Allocation](t, h.allocate("web", "u", 3, "")).Fence
		require.Equal(t, http.StatusNoContent, h.release("default", "web", fence, "").Code)
		h.node.finish()
		require.Equal(t, http.StatusOK, h.allocate("web", "v", 3, "").Code, "another UID")
		h.server.stop()
	})
}
