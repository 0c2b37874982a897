package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
)

func newToken(t *testing.T, change func(*wire.NewToken)) (token, body string) {
	t.Helper()
	token, hash := NewToken()
	b := wire.NewToken{Name: "ci", Role: wire.TokenRoleViewer, Sha256: hash}
	if change != nil {
		change(&b)
	}
	text, err := json.Marshal(b)
	require.NoError(t, err)
	return token, string(text)
}

func TestTokenLetsInUntilItIsRevoked(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	token, body := newToken(t, func(b *wire.NewToken) { b.Expires = time.Now().Add(time.Hour) })
	ask := func() int { return h.do("", http.MethodGet, "/v1/cluster", "", bearing(token)).Code }
	require.Equal(t, http.StatusUnauthorized, ask())
	w := h.do(RoleAdmin, http.MethodPost, "/v1/tokens", body)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	made := read[wire.Token](t, w)
	hash := sha256.Sum256([]byte(token))
	require.Equal(t, hex.EncodeToString(hash[:8]), made.ID)
	require.Equal(t, "the-admin", made.CreatedBy)
	require.NotContains(t, w.Body.String(), hex.EncodeToString(hash[:]), "not even the hash is told")
	require.Equal(t, http.StatusOK, ask())
	require.Equal(t, http.StatusOK, h.do(RoleAdmin, http.MethodPost, "/v1/tokens", body).Code, "it may be repeated")
	requireProblem(t, h.do(RoleAdmin, http.MethodPost, "/v1/tokens", strings.Replace(body, "viewer", "admin", 1)), http.StatusConflict, tokenExists, "")

	list := read[wire.TokenList](t, h.do(RoleAdmin, http.MethodGet, "/v1/tokens", ""))
	require.Equal(t, []wire.Token{made}, list.Tokens)

	h.node.follow("node-b", "https://b.example:7400")
	require.Equal(t, http.StatusOK, ask(), "every node knows it")
	h.node.follow("", "")
	require.Equal(t, http.StatusOK, ask(), "without a leader, too")
	h = again(h)
	require.Equal(t, http.StatusNoContent, h.do(RoleAdmin, http.MethodDelete, "/v1/tokens/"+made.ID, "").Code)
	require.Equal(t, http.StatusUnauthorized, ask())
	requireProblem(t, h.do(RoleAdmin, http.MethodDelete, "/v1/tokens/"+made.ID, ""), http.StatusNotFound, notFound, "")
	requireProblem(t, h.do(RoleAdmin, http.MethodDelete, "/v1/tokens/KST", ""), http.StatusBadRequest, invalidField, "id")
}

// again makes the node lead again.
func again(h *harness) *harness {
	h.node.mu.Lock()
	defer h.node.mu.Unlock()
	h.node.status.IsLeader, h.node.status.LeaderID = true, "node-a"
	return h
}

func TestTokensThatCanNotBeMade(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for field, change := range map[string]func(*wire.NewToken){
		"sha256":     func(b *wire.NewToken) { b.Sha256 = "kst_" + b.Sha256[4:] },
		"name":       func(b *wire.NewToken) { b.Name = "a b" },
		"role":       func(b *wire.NewToken) { b.Role = "pod" },
		"namespaces": func(b *wire.NewToken) { b.Namespaces = []string{"a", "a"} },
		"projects":   func(b *wire.NewToken) { b.Projects = make([]string, fsm.MaxTokenLimits+1) },
		"expires":    func(b *wire.NewToken) { b.Expires = time.Now().Add(-time.Second) },
	} {
		_, body := newToken(t, change)
		requireProblem(t, h.do(RoleAdmin, http.MethodPost, "/v1/tokens", body), http.StatusBadRequest, invalidField, field)
	}
	for _, list := range []string{`[1]`, `["a",{"b":1}]`, `{"a":"b"}`, `"a"`, `["a"`, `[["a"]]`} {
		w := h.do(RoleAdmin, http.MethodPost, "/v1/tokens", `{"name":"a","role":"viewer","sha256":"x","namespaces":`+list+`}`)
		require.Equal(t, http.StatusBadRequest, w.Code, "%s: %s", list, w.Body)
	}
	require.Zero(t, h.node.proposals())
}

func TestTokensExpireByTheClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		file := filepath.Join(t.TempDir(), "tokens.json")
		inFile, hash := NewToken()
		expires := time.Now().Add(time.Minute)
		text, err := json.Marshal(tokenFile{Tokens: []tokenEntry{{Name: "a", Role: RoleViewer, SHA256: hash, Expires: expires}}})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, text, 0o600))
		tokens, err := OpenTokens(file, nil)
		require.NoError(t, err)
		h.server.cfg.Tokens = tokens
		for _, token := range []string{inFile, h.state("b", RoleViewer, expires)} {
			require.Equal(t, http.StatusOK, h.do("", http.MethodGet, "/v1/cluster", "", bearing(token)).Code)
		}
		<-time.After(time.Minute)
		for _, token := range []string{inFile, h.state("c", RoleViewer, expires)} {
			p := requireProblem(t, h.do("", http.MethodGet, "/v1/cluster", "", bearing(token)), http.StatusUnauthorized, unauthenticated, "")
			require.Contains(t, p.Detail, "expired")
		}
		h.server.stop()
	})
}

// What callers see that are limited to a namespace.
func TestLimitedCallersSeeTheirOwn(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	ours := h.held("web", "u1", 2)
	body := `{"namespace":"other","pod":"db","podUid":"u2","keys":1}`
	require.Equal(t, http.StatusAccepted, h.do(RoleOperator, http.MethodPost, "/v1/allocations", body).Code)
	h.node.finish()
	theirs := read[wire.Allocation](t, h.do(RoleOperator, http.MethodPost, "/v1/allocations", body))
	require.Equal(t, http.StatusAccepted, h.do(RoleOperator, http.MethodPost, "/v1/allocations", `{"namespace":"third","pod":"x","podUid":"u3","keys":1}`).Code)
	h.node.generate()

	limited := bearing(h.state("limited", RoleViewer, time.Time{}, "default", "third"))
	get := func(path string, more ...requestOption) string {
		w := h.do("", http.MethodGet, path, "", append(more, limited)...)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		return w.Body.String()
	}
	for _, path := range []string{"/v1/allocations", "/assignments", "/allocations", "/v1/keys", "/v1/deposits"} {
		for _, accept := range []string{"application/json", "text/html", "text/plain"} {
			text := get(path, header("Accept", accept))
			require.NotContains(t, text, theirs.Keys[0], path)
			require.NotContains(t, text, "other", path)
			require.Contains(t, text, ours.Keys[0], path)
			require.Contains(t, text, ours.Keys[1], path)
		}
	}
	var keys wire.KeyPage
	require.NoError(t, json.Unmarshal([]byte(get("/v1/keys")), &keys))
	require.Equal(t, map[string]int64{"held": 2, "depositing": 1}, keys.Counts)
	var deposits wire.DepositPage
	require.NoError(t, json.Unmarshal([]byte(get("/v1/deposits")), &deposits))
	require.Equal(t, map[string]int64{"final": 2, "planned": 1}, deposits.Counts)
	require.Empty(t, deposits.Accounts, "the money is the whole cluster's")
	require.Contains(t, get("/assignments", header("Accept", "text/html")), "third")

	for _, path := range []string{"/v1/keys/", "/v1/deposits/"} {
		get(path + ours.Keys[0])
		w := h.do("", http.MethodGet, path+theirs.Keys[0], "", limited)
		requireProblem(t, w, http.StatusNotFound, notFound, "")
	}
	require.Equal(t, http.StatusNoContent, h.do(RoleOperator, http.MethodDelete, "/v1/allocations/default/web?fence="+strconv.FormatInt(ours.Fence, 10), "").Code)
	require.NoError(t, json.Unmarshal([]byte(get("/v1/keys")), &keys))
	require.Len(t, keys.Keys, 1, "one is free and nobody's, the other went to the pod that waited")
	require.Equal(t, "third", keys.Keys[0].Holder.Namespace)
}
