package api

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

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

	requireProblem(t, h.do(RoleViewer, http.MethodPost, path, ""), 403, forbidden, "")
	require.True(t, stopped())
	require.Equal(t, http.StatusNoContent, h.do(RoleOperator, http.MethodPost, path, "").Code)
	require.False(t, stopped())
	require.Equal(t, http.StatusNoContent, h.do(RoleOperator, http.MethodPost, path, "").Code, "a repeat changes nothing")
	last := h.node.proposed[len(h.node.proposed)-1]
	require.NotNil(t, last.GetResumeDeposits())
	require.Equal(t, "the-operator", last.GetCaller().GetName())

	var audited []string
	for a := range h.node.View().Audit(0) {
		audited = append(audited, a.GetAction()+" by "+a.GetCaller().GetName())
	}
	require.Contains(t, audited, "deposits.resume by the-operator")
}
