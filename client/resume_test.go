package client

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
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
		var seen wire.SeenStop
		require.NoError(t, json.NewDecoder(r.Body).Decode(&seen))
		require.Equal(t, wire.SeenStop{ChainID: 1, Account: "0x07", Nonce: 3}, seen)
		if status == http.StatusNoContent {
			w.WriteHeader(status)
		} else {
			clienttest.Problem(w, status, "no-leader", "nobody leads")
		}
		status = http.StatusNoContent
		return true
	}
	c, _ := connect(t, cluster)
	stopped := wire.FundingAccount{ChainID: 1, Address: "0x07", Stop: wire.Stop{Reason: "r", Nonce: 3}}
	require.NoError(t, c.ResumeDeposits(t.Context(), stopped), "repeated until it is done")

	status = http.StatusForbidden
	require.ErrorContains(t, c.ResumeDeposits(t.Context(), stopped), "resume deposits from account 0x07")
}
