package api

import (
	"bytes"
	"crypto/sha256"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/testimony"
)

// restored brings the node's own state back, as a backup of it would, and opens a session.
func (n *fakeNode) restored() {
	var b bytes.Buffer
	view := n.View()
	if _, err := view.WriteTo(&b); err != nil {
		panic(err)
	}
	sum := sha256.Sum256(b.Bytes())
	n.must(&fsmpb.Command{Body: &fsmpb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmpb.RaiseFeatureLevel{Level: 1}}})
	n.must(&fsmpb.Command{Body: &fsmpb.Command_StageRestore{StageRestore: &fsmpb.StageRestore{RestoreId: "r", Data: b.Bytes()}}})
	n.must(&fsmpb.Command{
		Caller: &fsmpb.Caller{Name: "the-admin", Role: "admin"}, WallMs: time.Now().UnixMilli(),
		Body: &fsmpb.Command_FinishRestore{FinishRestore: &fsmpb.FinishRestore{
			RestoreId: "r", Sha256: sum[:], Index: view.Meta().GetAppliedIndex(), ClusterId: "cluster-1", Force: true, MadeWallMs: 1000,
		}},
	})
	n.must(&fsmpb.Command{Body: &fsmpb.Command_BeginSession{BeginSession: &fsmpb.BeginSession{NodeId: "node-a"}}})
}

func TestRestoredClusterHoldsBack(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	none := read[wire.Restore](t, h.get("/v1/restore"))
	require.Equal(t, wire.Restore{Missing: []wire.RestoreMissing{}}, none)
	require.Zero(t, read[wire.Cluster](t, h.get("/v1/cluster")).Restore)
	token, made := newToken(t, nil)
	id := read[wire.Token](t, h.do(RoleAdmin, http.MethodPost, "/v1/tokens", made)).ID
	ask := func() *responseRecorder { return h.do("", http.MethodGet, "/v1/cluster", "", bearing(token)) }
	require.Equal(t, http.StatusOK, ask().Code)

	h.node.restored()
	w := h.do(RoleOperator, http.MethodPost, "/v1/allocations", body(nil))
	requireProblem(t, w, http.StatusServiceUnavailable, unconfirmed, "")
	require.Equal(t, "30", w.Header().Get("Retry-After"))
	requireProblem(t, ask(), http.StatusUnauthorized, unauthenticated, "")
	require.Contains(t, ask().Body.String(), "tokens confirm")
	require.True(t, read[wire.TokenList](t, h.do(RoleAdmin, http.MethodGet, "/v1/tokens", "")).Tokens[0].Suspended)

	now := read[wire.Restore](t, h.get("/v1/restore"))
	require.True(t, now.Open)
	require.Equal(t, int64(1), now.Number)
	require.Equal(t, "the-admin", now.By)
	require.Equal(t, time.UnixMilli(1000).UTC(), now.BackupMade.UTC())
	require.Len(t, now.Missing, 1, "the seed was not looked for")
	require.Equal(t, 1, now.SuspendedTokens)
	require.Equal(t, now, read[wire.Cluster](t, h.get("/v1/cluster")).Restore)
	require.Contains(t, h.get("/metrics").Body.String(), "keysteward_restore_open 1")
	require.Contains(t, h.get("/metrics").Body.String(), `keysteward_restore_missing{code="seed-search"} 1`)

	const confirm = "/v1/restore/confirm"
	requireProblem(t, h.do(RoleOperator, http.MethodPost, confirm, `{"number":1,"validatorsStopped":true}`), http.StatusForbidden, forbidden, "")
	requireProblem(t, h.do(RoleAdmin, http.MethodPost, confirm, `{"number":1,"validatorsStopped":false}`), http.StatusBadRequest, invalidField, "validatorsStopped")
	requireProblem(t, h.do(RoleAdmin, http.MethodPost, confirm, `{"number":0,"validatorsStopped":true}`), http.StatusBadRequest, invalidField, "number")
	requireProblem(t, h.do(RoleAdmin, http.MethodPost, confirm, `{"number":2,"validatorsStopped":true}`), http.StatusNotFound, notFound, "")
	requireProblem(t, h.do(RoleAdmin, http.MethodPost, confirm, `{"number":1,"validatorsStopped":true}`), http.StatusConflict, notConfirmable, "")
	const word = `{"number":1,"validatorsStopped":true,"noDeposits":true}`
	require.Equal(t, http.StatusNoContent, h.do(RoleAdmin, http.MethodPost, confirm, word).Code)
	require.Equal(t, http.StatusNoContent, h.do(RoleAdmin, http.MethodPost, confirm, word).Code, "a repeat")
	now = read[wire.Restore](t, h.get("/v1/restore"))
	require.False(t, now.Open)
	require.Equal(t, "the-admin", now.ConfirmedBy)
	require.Contains(t, h.get("/metrics").Body.String(), "keysteward_restore_open 0")
	require.Equal(t, http.StatusAccepted, h.do(RoleOperator, http.MethodPost, "/v1/allocations", body(nil)).Code)

	require.Equal(t, http.StatusUnauthorized, ask().Code, "tokens are another matter")
	requireProblem(t, h.do(RoleAdmin, http.MethodPost, "/v1/tokens/x/confirm", ""), http.StatusBadRequest, invalidField, "id")
	requireProblem(t, h.do(RoleAdmin, http.MethodPost, "/v1/tokens/0000000000000000/confirm", ""), http.StatusNotFound, notFound, "")
	back := h.do(RoleAdmin, http.MethodPost, "/v1/tokens/"+id+"/confirm", "")
	require.Equal(t, http.StatusOK, back.Code)
	require.False(t, read[wire.Token](t, back).Suspended)
	require.Equal(t, http.StatusOK, ask().Code)
}

// A key says why it rests.
func TestKeysAfterARestore(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.do(RoleOperator, http.MethodPost, "/v1/allocations", body(nil))
	h.node.generate()
	h.node.pay()
	h.node.restored()
	held := read[wire.KeyPage](t, h.get("/v1/keys")).Keys
	require.NotEmpty(t, held)
	for _, k := range held {
		require.Equal(t, wire.KeyStateResting, k.State)
	}
	a := read[wire.Assignments](t, h.get("/v1/allocations")).Assignments[0]
	require.Equal(t, testimony.CodeRestored, a.Rest.Code)
	require.Equal(t, fsm.RestRestored, a.Rest.Code)
	require.Contains(t, a.RestsUntil, "once the restore is confirmed")
}
