package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestRetireFreeKey(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	a := h.held("web-0", "uid-1", 2)
	h.release("default", "web-0", a.Fence, "")
	path := "/v1/keys/" + a.Keys[0] + "/retire"
	for range 2 { // repeating is safe
		w := h.do(RoleOperator, http.MethodPost, path, `{"reason":"lost its backup"}`)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		k := read[wire.Key](t, w)
		require.Equal(t, wire.KeyStateRetired, k.State)
		require.Equal(t, "operator", k.RetiredReason)
		require.Equal(t, "lost its backup", k.RetiredDetail)
	}
	w := h.do(RoleAdmin, http.MethodPost, path, `{"reason":"another","force":true}`)
	require.Equal(t, "lost its backup", read[wire.Key](t, w).RetiredDetail, "the first reason stays")
	require.Equal(t, a.Keys[0], read[wire.KeyPage](t, h.get("/v1/keys?state=retired")).Keys[0].Pubkey)
	b := h.held("web-1", "uid-2", 2)
	require.Equal(t, a.Keys[1], b.Keys[0])
	require.NotEqual(t, a.Keys[0], b.Keys[1], "handed out again")

	var audit *fsmpb.Audit
	for r := range h.node.View().Audit(0) {
		if r.GetAction() == "key.retire" {
			require.Nil(t, audit, "a repeat is no change")
			audit = r
		}
	}
	require.Equal(t, "the-operator", audit.GetCaller().GetName())
	require.Equal(t, "operator: lost its backup", audit.GetDetail())
	require.Equal(t, a.Keys[0], audit.GetObject())
}

func TestRetireKeyInUse(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	a := h.held("web-0", "uid-1", 2)
	path := "/v1/keys/" + a.Keys[0] + "/retire"
	p := requireProblem(t, h.do(RoleOperator, http.MethodPost, path, `{"reason":"stolen"}`), http.StatusConflict, keyInUse, "")
	require.Contains(t, p.Detail, "held by pod default/web-0")
	requireProblem(t, h.do(RoleOperator, http.MethodPost, path, `{"reason":"stolen","force":false}`), http.StatusConflict, keyInUse, "")
	require.Equal(t, a, read[wire.PodStatus](t, h.get("/v1/allocations/default/web-0")).Allocation, "nothing was changed")

	require.Equal(t, http.StatusOK, h.do(RoleOperator, http.MethodPost, path, `{"reason":"stolen","force":true}`).Code)
	left := read[wire.PodStatus](t, h.get("/v1/allocations/default/web-0")).Allocation
	require.Equal(t, a.Keys[1:], left.Keys)
	require.Greater(t, left.Fence, a.Fence)
}

func TestRetireIsStrict(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	a := h.held("web-0", "uid-1", 1)
	path := "/v1/keys/" + a.Keys[0] + "/retire"
	for body, field := range map[string]string{
		`{}`:             "reason",
		`{"reason":" "}`: "reason",
		`{"reason":"` + strings.Repeat("x", 257) + `"}`: "reason",
		`{"reason":"x","Force":true}`:                   "Force",
		`{"reason":"x","force":"yes"}`:                  "force",
	} {
		requireProblem(t, h.do(RoleOperator, http.MethodPost, path, body), http.StatusBadRequest, invalidField, field)
	}
	unknown := "/v1/keys/" + fmt.Sprintf("%096x", 1) + "/retire"
	requireProblem(t, h.do(RoleOperator, http.MethodPost, unknown, `{"reason":"x"}`), http.StatusNotFound, notFound, "")
	requireProblem(t, h.do(RoleOperator, http.MethodPost, "/v1/keys/0x12/retire", `{"reason":"x"}`), http.StatusBadRequest, invalidField, "pubkey")
	require.Equal(t, wire.KeyStateHeld, read[wire.Key](t, h.get("/v1/keys/"+a.Keys[0])).State)
}

func TestValidatorStatusIsShownWithTheKey(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	a := h.held("web-0", "uid-1", 1)
	require.NotContains(t, h.get("/v1/keys").Body.String(), "validator", "nobody has asked a beacon node")
	pubkey, err := pubkeyField("", a.Keys[0])
	require.NoError(t, err)
	h.node.must(&fsmpb.Command{Body: &fsmpb.Command_ObserveValidators{ObserveValidators: &fsmpb.ObserveValidators{
		Validators: []*fsmpb.Validator{{Pubkey: pubkey, Status: "active_ongoing", EffectiveBalanceGwei: 32_000_000_000}},
	}}})
	k := read[wire.KeyPage](t, h.get("/v1/keys")).Keys[0]
	require.Equal(t, "active_ongoing", k.ValidatorStatus)
	require.NotNil(t, k.ValidatorIndex, "the first validator of a chain has index 0")
	require.Zero(t, *k.ValidatorIndex)
	require.Equal(t, int64(32_000_000_000), k.EffectiveBalanceGwei)
	require.Equal(t, k, read[wire.Key](t, h.get("/v1/keys/"+a.Keys[0])))
}
