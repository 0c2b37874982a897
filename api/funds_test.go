package api

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestFundsAreShown(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	p := read[wire.DepositPage](t, h.get("/v1/deposits"))
	require.Zero(t, p.Funds)
	require.Equal(t, wire.Pace{}, p.Pace)
	require.NotContains(t, h.get("/v1/deposits").Body.String(), "funds")
	require.NotContains(t, h.get("/v1/deposits").Body.String(), "spares")

	h.allocate("web-0", "uid-1", 3, "")
	h.node.generate()
	h.node.must(&fsmpb.Command{Body: &fsmpb.Command_SetDepositStatus{SetDepositStatus: &fsmpb.SetDepositStatus{
		Code: "insufficient-funds", Detail: "96 ETH are missing",
		Funds: &fsmpb.Funds{
			ChainId: 1337, Account: testAccount, BalanceWei: "0", GasPriceWei: "2000000000", InFlightWei: "0",
			Waiting: 3, WaitingWei: "96000000000000000001", MissingWei: "96000000000000000001", Block: 7, MaxPerDay: 5,
		},
	}}})
	h.node.sign()
	p = read[wire.DepositPage](t, h.get("/v1/deposits"))
	require.Equal(t, wire.Funds{
		ChainID: 1337, Account: hexText(testAccount), BalanceWei: "0", GasPriceWei: "2000000000", InFlightWei: "0",
		Waiting: 3, WaitingWei: "96000000000000000001", MissingWei: "96000000000000000001", Block: 7,
		At: time.UnixMilli(1_700_000_000_000).UTC(),
	}, p.Funds)
	require.Equal(t, wire.Pace{MaxPerDay: 5, SignedToday: 3}, p.Pace)
	require.Contains(t, h.get("/v1/deposits").Body.String(), `"waitingWei":"96000000000000000001"`, "wei in a string")
}

// With deposits off what the pool can not fill is refused before anything is
// reserved; what needs no new key goes on.
func TestPoolOnly(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	waits := h.allocate("web-1", "uid-1", 2, "")
	require.Equal(t, http.StatusAccepted, waits.Code)
	h.held("web-0", "uid-1", 2)

	h.server.cfg.PoolOnly = true
	requireProblem(t, h.allocate("web-2", "uid-1", 1, "?wait=30s"), http.StatusConflict, poolShort, "")
	requireProblem(t, h.get("/v1/allocations/default/web-2"), http.StatusNotFound, notFound, "")
	requireProblem(t, h.allocate("web-0", "uid-1", 3, ""), http.StatusConflict, poolShort, "")
	require.Equal(t, http.StatusOK, h.allocate("web-0", "uid-1", 2, "").Code, "a repeat")

	require.Equal(t, http.StatusOK, h.allocate("web-1", "uid-1", 2, "").Code, "what was paid before")
	require.Equal(t, http.StatusNoContent, h.release("default", "web-0", h.fence("web-0"), "").Code)
	require.Equal(t, http.StatusOK, h.allocate("web-2", "uid-1", 2, "").Code, "from the pool")
}

func TestSparesAreShown(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.node.must(&fsmpb.Command{Body: &fsmpb.Command_SetSpareKeys{SetSpareKeys: &fsmpb.SetSpareKeys{Keys: 3}}})
	h.node.must(&fsmpb.Command{Body: &fsmpb.Command_GenerateKeys{GenerateKeys: &fsmpb.GenerateKeys{Pubkeys: pubkeys(0, 2)}}})
	require.Equal(t, wire.Spares{Wanted: 3, Planned: 2}, read[wire.DepositPage](t, h.get("/v1/deposits")).Spares)
	h.node.sign()
	require.Equal(t, wire.Spares{Wanted: 3, OnTheirWay: 2}, read[wire.DepositPage](t, h.get("/v1/deposits")).Spares)
	text := h.get("/metrics").Body.String()
	require.Contains(t, text, `keysteward_spare_keys{state="on-their-way"} 2`)
	require.Contains(t, text, `keysteward_spare_keys{state="wanted"} 3`)
	require.Contains(t, text, "keysteward_deposits_signed_today 2")
}
