package api

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestResumeDeposits(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	const path = "/v1/deposits/resume"
	address, genesis := bytes.Repeat([]byte{7}, 20), bytes.Repeat([]byte{8}, 32)
	h.node.must(&fsmpb.Command{Body: &fsmpb.Command_OpenAccount{OpenAccount: &fsmpb.OpenAccount{
		Account: &fsmpb.Account{ChainId: 9, Address: address, GenesisHash: genesis, NextNonce: 5},
	}}})
	h.node.must(&fsmpb.Command{Body: &fsmpb.Command_StopAccount{StopAccount: &fsmpb.StopAccount{
		ChainId: 9, Account: address, Stop: &fsmpb.Stop{Reason: "somebody else", Nonce: 7},
	}}})
	stopped := func() bool { return h.node.View().Account(9, address).GetStop() != nil }

	const seen = `{"chainId":9,"account":"0x0707070707070707070707070707070707070707","nonce":%d}`

	stop := read[wire.DepositPage](t, h.get("/v1/deposits")).Accounts[0].Stop
	require.Equal(t, "somebody else", stop.Reason)
	body := fmt.Sprintf(seen, stop.Nonce)
	requireProblem(t, h.do(RoleViewer, http.MethodPost, path, body), 403, forbidden, "")
	requireProblem(t, h.do(RoleOperator, http.MethodPost, path, fmt.Sprintf(seen, 6)), 409, staleStop, "")
	requireProblem(t, h.do(RoleOperator, http.MethodPost, path, fmt.Sprintf(seen, -1)), 400, invalidField, "nonce")
	requireProblem(t, h.do(RoleOperator, http.MethodPost, path, `{"chainId":9,"account":"0x07","nonce":7}`), 400, invalidField, "account")
	requireProblem(t, h.do(RoleOperator, http.MethodPost, path, `{"chainId":8,"account":"0x0707070707070707070707070707070707070707","nonce":7}`), 404, notFound, "")
	require.True(t, stopped())
	require.Equal(t, http.StatusNoContent, h.do(RoleOperator, http.MethodPost, path, body).Code)
	require.False(t, stopped())
	require.Equal(t, http.StatusNoContent, h.do(RoleOperator, http.MethodPost, path, body).Code, "a repeat changes nothing")
	require.Zero(t, read[wire.DepositPage](t, h.get("/v1/deposits")).Accounts[0].Stop)
	last := h.node.proposed[len(h.node.proposed)-1]
	require.NotNil(t, last.GetResumeDeposits())
	require.Equal(t, "the-operator", last.GetCaller().GetName())

	var audited []string
	for a := range h.node.View().Audit(0) {
		audited = append(audited, a.GetAction()+" by "+a.GetCaller().GetName())
	}
	require.Contains(t, audited, "deposits.resume by the-operator")
}
