package cli

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
)

func TestDepositsResume(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		waiting wire.Reason
		stop    wire.Stop
		says    string
	}{
		"stopped": {wire.Reason{Code: "stopped", Detail: "something else"}, wire.Stop{Reason: "something else", Nonce: 7}, "deposits go on; they were stopped because: something else\n"},
		"flowing": {wire.Reason{}, wire.Stop{}, "deposits were not stopped\n"},
		"waiting": {wire.Reason{Code: "insufficient-funds", Detail: "1 ETH"}, wire.Stop{}, "deposits wait for another reason, insufficient-funds, which ends by itself: 1 ETH\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := clienttest.Start(t, 1)
			resumed := 0
			accounts := []wire.FundingAccount{{ChainID: 1, Address: "0x1"}, {ChainID: 1, Address: "0x2", Stop: test.stop}}
			cluster.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
				switch r.Method + " " + r.URL.Path {
				case "POST /v1/deposits/resume":
					resumed++
					w.WriteHeader(http.StatusNoContent)
				case "GET /v1/deposits":
					_ = json.NewEncoder(w).Encode(wire.DepositPage{Deposits: []wire.Deposit{}, Waiting: test.waiting, Accounts: accounts})
				default:
					return false
				}
				return true
			}
			sh := at(cluster)
			got := sh.run(t, "deposits", "resume")
			require.Zero(t, got.code, got.err)
			require.Equal(t, test.says, got.out)
			stops := 0
			if test.stop.Reason != "" {
				stops = 1
			}
			require.Equal(t, stops, resumed)

			got = sh.run(t, "deposits", "resume", "--quiet")
			require.Zero(t, got.code, got.err)
			require.Empty(t, got.out)
			require.NotZero(t, sh.run(t, "deposits", "resume", "all").code)
			require.Equal(t, 2*stops, resumed)

			require.Zero(t, sh.run(t, "deposits", "resume", "--account", "0x00000000219ab540356cBB839Cbe05303d7705Fa").code)
			require.Equal(t, 2*stops, resumed, "another account")
			require.Equal(t, ExitUsage, sh.run(t, "deposits", "resume", "--account", "0x1").code)
		})
	}
}
