package client

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/client/clienttest"
)

func TestResumeDeposits(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	status := http.StatusServiceUnavailable
	cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || r.URL.Path != "/v1/deposits/resume" {
			return false
		}
		if status == http.StatusNoContent {
			w.WriteHeader(status)
		} else {
			clienttest.Problem(w, status, "no-leader", "nobody leads")
		}
		status = http.StatusNoContent
		return true
	}
	c, _ := connect(t, cluster)
	require.NoError(t, c.ResumeDeposits(t.Context()), "repeated until it is done")

	status = http.StatusForbidden
	require.ErrorContains(t, c.ResumeDeposits(t.Context()), "resume deposits")
}
