package api

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/seal"
)

// kekOf is a key-encryption key of one digit, and its ID.
func kekOf(t *testing.T, h *harness, digit string) (kek seal.KEK, id string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kek")
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat(digit, 2*seal.KeySize)), 0o600))
	kek, err := seal.ParseKEK("file:" + path)
	require.NoError(t, err)
	identity, err := kek.Identify(t.Context(), h.node.View().Meta().GetClusterId())
	require.NoError(t, err)
	return kek, identity.ID
}

// keyed is a harness whose cluster has a keyring of the key "a", on a node that
// has the keys "a" and "b".
func keyed(t *testing.T) (h *harness, ids map[string]string) {
	t.Helper()
	h = newHarness(t)
	a, idA := kekOf(t, h, "a")
	b, idB := kekOf(t, h, "b")
	h.server.cfg.Seal = seal.NewVault(nil, a, b)
	h.installKeyring(a)
	return h, map[string]string{"a": idA, "b": idB}
}

// installKeyring gives the cluster a keyring that this key opens.
func (h *harness) installKeyring(kek seal.KEK) {
	h.Helper()
	record, err := seal.NewKeyring(h.Context(), h.node.View().Meta().GetClusterId(), kek)
	require.NoError(h, err)
	h.propose(&fsmpb.Command{Body: &fsmpb.Command_InstallKeyring{InstallKeyring: &fsmpb.InstallKeyring{Sealed: record}}})
}

func (h *harness) propose(cmd *fsmpb.Command) {
	h.Helper()
	_, err := h.node.Propose(h.Context(), cmd)
	require.NoError(h, err)
}

func (h *harness) seal() wire.Seal {
	h.Helper()
	w := h.get("/v1/seal")
	require.Equal(h, http.StatusOK, w.Code, w.Body)
	return read[wire.Seal](h.T, w)
}

func TestSealStatus(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	require.Zero(t, h.seal().Revision, "there is no keyring yet")
	h, ids := keyed(t)
	h.propose(&fsmpb.Command{Body: &fsmpb.Command_SetMember{SetMember: &fsmpb.SetMember{Member: &fsmpb.Member{
		NodeId: "n2-b", RaftAddress: "r", Keys: []*fsmpb.KeyEncryptionKey{{Id: ids["a"]}, {Id: "tpm:0011", Public: []byte("p")}},
	}}}})
	s := h.seal()
	require.EqualValues(t, 1, s.CurrentTerm)
	require.False(t, s.Sealed)
	require.Equal(t, []wire.SealKey{
		{ID: ids["a"], Kind: "file", Wraps: true, Nodes: []string{"n2-b"}},
		{ID: "tpm:0011", Kind: "tpm", Nodes: []string{"n2-b"}},
	}, s.Keys)
	h.vault.sealUp("the file is gone")
	s = h.seal()
	require.True(t, s.Sealed)
	require.Equal(t, "the file is gone", s.Reason)
}

func TestSealChanges(t *testing.T) {
	t.Parallel()
	h, ids := keyed(t)
	admin := func(method, target, body string) (status int, kind string) {
		w := h.do(RoleAdmin, method, target, body)
		if w.Code < http.StatusBadRequest {
			return w.Code, ""
		}
		return w.Code, read[wire.Problem](t, w).Type
	}
	for _, step := range []struct {
		method, target, body string
		status               int
		kind                 kind
	}{
		{"POST", "/v1/seal/rotate", "", http.StatusNoContent, ""},
		{"POST", "/v1/seal/keys", `{"id":""}`, http.StatusBadRequest, invalidField},
		{"POST", "/v1/seal/keys", `{"id":"file:0000"}`, http.StatusNotFound, notFound},
		{"DELETE", "/v1/seal/keys/" + ids["a"], "", http.StatusConflict, lastKey},
		{"DELETE", "/v1/seal/keys/" + ids["a"] + "?force=yes", "", http.StatusBadRequest, invalidField},
		{"POST", "/v1/seal/keys", `{"id":"` + ids["b"] + `"}`, http.StatusNoContent, ""},
		{"POST", "/v1/seal/keys", `{"id":"` + ids["b"] + `"}`, http.StatusNoContent, ""},
		{"DELETE", "/v1/seal/keys/file:0000", "", http.StatusNotFound, notFound},
		{"DELETE", "/v1/seal/keys/" + ids["a"], "", http.StatusNoContent, ""},
	} {
		status, problem := admin(step.method, step.target, step.body)
		require.Equal(t, step.status, status, step.target)
		require.Equal(t, string(step.kind), problem, step.target)
	}
	require.Len(t, h.seal().Keys, 1)
	require.EqualValues(t, 3, h.seal().CurrentTerm)
	require.EqualValues(t, 4, h.seal().Revision)

	h.propose(&fsmpb.Command{Body: &fsmpb.Command_SetMember{SetMember: &fsmpb.SetMember{Member: &fsmpb.Member{
		NodeId: "n2-b", RaftAddress: "r", Keys: []*fsmpb.KeyEncryptionKey{{Id: ids["b"]}},
	}}}})
	status, problem := admin("POST", "/v1/seal/keys", `{"id":"`+ids["a"]+`"}`)
	require.Equal(t, http.StatusConflict, status)
	require.Equal(t, string(keyRemoved), problem, "it may have leaked")
	status, _ = admin("POST", "/v1/seal/keys", `{"id":"`+ids["a"]+`","force":true}`)
	require.Equal(t, http.StatusNoContent, status)
	status, problem = admin("DELETE", "/v1/seal/keys/"+ids["b"], "")
	require.Equal(t, http.StatusConflict, status)
	require.Equal(t, string(membersStranded), problem)
	status, _ = admin("DELETE", "/v1/seal/keys/"+ids["b"]+"?force=true", "")
	require.Equal(t, http.StatusNoContent, status)

	last := ""
	for a := range h.node.View().Audit(0) {
		last = a.GetAction() + " by " + a.GetCaller().GetName() + " of " + a.GetDetail()
	}
	require.Equal(t, "keyring.remove by the-admin of "+ids["b"]+" by force", last)
}

// A node whose keys can not be used says so, and changes nothing.
func TestSealChangesOnASealedNode(t *testing.T) {
	t.Parallel()
	h, ids := keyed(t)
	other, otherID := kekOf(t, h, "c")
	h.server.cfg.Seal = seal.NewVault(nil, other)
	for _, target := range []string{"POST /v1/seal/rotate", "DELETE /v1/seal/keys/" + ids["a"]} {
		method, path, _ := strings.Cut(target, " ")
		w := h.do(RoleAdmin, method, path, "")
		requireProblem(t, w, http.StatusServiceUnavailable, sealed, "")
		require.Contains(t, w.Body.String(), otherID, "which key it has")
		require.Equal(t, "5", w.Header().Get("Retry-After"))
	}
	w := h.do(RoleOperator, http.MethodPost, "/v1/seal/verify", "")
	require.Equal(t, http.StatusOK, w.Code)
	found := read[wire.SealVerification](t, w)
	require.False(t, found.Keys[0].Ok)
	require.Contains(t, found.Keys[0].Detail, "other key-encryption keys")
}

func TestVerifySeal(t *testing.T) {
	t.Parallel()
	h, ids := keyed(t)
	found := read[wire.SealVerification](t, h.do(RoleOperator, http.MethodPost, "/v1/seal/verify", ""))
	require.Equal(t, wire.SealVerified{ID: ids["a"], Ok: true}, found.Keys[0])
	require.False(t, found.Keys[1].Ok, "it was not added yet")
	requireProblem(t, newHarness(t).do(RoleOperator, http.MethodPost, "/v1/seal/verify", ""), http.StatusServiceUnavailable, sealed, "")
}

// What is under which data key, as secrets come in and are sealed anew.
func TestSealTerms(t *testing.T) {
	t.Parallel()
	h, _ := keyed(t)
	under := func(term byte) []byte { return []byte{0, 0, 0, term, 'x'} }
	h.propose(&fsmpb.Command{Body: &fsmpb.Command_InstallSeed{InstallSeed: &fsmpb.InstallSeed{Sealed: under(1), Fingerprint: "f"}}})
	require.Equal(t, http.StatusNoContent, h.do(RoleAdmin, http.MethodPost, "/v1/seal/rotate", "").Code)
	h.propose(&fsmpb.Command{Body: &fsmpb.Command_ImportKeys{ImportKeys: &fsmpb.ImportKeys{Keys: []*fsmpb.ImportedKey{
		{Pubkey: make([]byte, 48), Sealed: under(2)},
	}}}})
	require.Equal(t, []wire.SealTerm{{Term: 1, Records: 1, Seed: true, Uses: 1}, {Term: 2, Records: 1, ImportedKeys: 1, Uses: 1}}, h.seal().Terms)
}
