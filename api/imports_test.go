package api

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// foreign are keys that the test seed does not derive.
func foreign(t testing.TB, n int) []*validator.SecretKey {
	t.Helper()
	keys := make([]*validator.SecretKey, n)
	for i := range keys {
		raw := make([]byte, 32)
		raw[1], raw[30], raw[31] = 7, byte(i>>8), byte(i)
		var err error
		keys[i], err = validator.SecretKeyFromBytes(raw)
		require.NoError(t, err)
	}
	return keys
}

func plaintextOf(t testing.TB, keys ...*validator.SecretKey) []byte {
	t.Helper()
	var plaintext []byte
	for _, k := range keys {
		var err error
		plaintext, err = wire.AppendImport(plaintext, k.PublicKey(), k.Bytes())
		require.NoError(t, err)
	}
	return plaintext
}

// bring posts what should be keys, sealed as the client would.
func (h *harness) bring(info, plaintext []byte) *responseRecorder {
	h.Helper()
	to := h.seedStatus().Recipient
	sealed, err := to.Seal(info, plaintext)
	require.NoError(h, err)
	return h.bringSealed(RoleAdmin, wire.SealedKeys{Recipient: to, Sealed: sealed})
}

func (h *harness) bringSealed(role Role, s wire.SealedKeys) *responseRecorder {
	h.Helper()
	data, err := json.Marshal(s)
	require.NoError(h, err)
	return h.do(role, http.MethodPost, "/v1/keys/import", string(data), header("X-Request-Id", "importing"))
}

// imports brings keys that must be accepted and returns the results.
func (h *harness) imports(keys ...*validator.SecretKey) []wire.ImportResult {
	h.Helper()
	w := h.bring(wire.ImportInfo("cluster-1"), plaintextOf(h.T, keys...))
	require.Equal(h, http.StatusOK, w.Code, w.Body)
	list := read[wire.ImportedKeys](h.T, w)
	require.Len(h, list.Keys, len(keys))
	var results []wire.ImportResult
	for i, k := range list.Keys {
		require.Equal(h, keys[i].PublicKey().String(), k.Pubkey)
		require.NotContains(h, w.Body.String(), hex.EncodeToString(keys[i].Bytes()))
		results = append(results, k.Result)
	}
	return results
}

func (h *harness) key(secret *validator.SecretKey) wire.Key {
	h.Helper()
	w := h.get("/v1/keys/" + secret.PublicKey().String())
	require.Equal(h, http.StatusOK, w.Code, w.Body)
	return read[wire.Key](h.T, w)
}

func (h *harness) confirm(role Role, pubkey string, fence int64) *responseRecorder {
	h.Helper()
	return h.do(role, http.MethodPost, "/v1/keys/"+pubkey+"/confirm-stopped", fmt.Sprintf(`{"fence":%d}`, fence))
}

func TestImportedKeysAreTakenOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t) // and there is no seed
	keys := foreign(t, 3)
	require.Equal(t, []wire.ImportResult{"imported", "imported"}, h.imports(keys[:2]...))
	require.Equal(t, []wire.ImportResult{"known", "imported", "known"}, h.imports(keys[1], keys[2], keys[0]))
	for _, secret := range keys {
		k := h.key(secret)
		require.Equal(t, wire.KeyStateResting, k.State)
		require.True(t, k.Imported)
		require.Empty(t, k.Path)
		require.Contains(t, k.RestsUntil, "keys confirm-stopped")
	}
	last := lastAudit(h.node.View())
	require.Equal(t, "key.import", last.GetAction())
	require.Equal(t, "the-admin", last.GetCaller().GetName())
	require.Equal(t, "importing", last.GetRequestId())
	require.Equal(t, http.StatusAccepted, h.allocate("web-0", "uid-1", 1, "").Code, "they rest")
}

func TestImportOfAKeyOfTheSeed(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	a := h.held("web-0", "uid-1", 1)
	own, err := testSeed().SigningKey(0)
	require.NoError(t, err)
	later, err := testSeed().SigningKey(1)
	require.NoError(t, err)
	require.Equal(t, []wire.ImportResult{"known", "imported"}, h.imports(own, later))
	require.False(t, h.key(own).Imported)
	require.Equal(t, a.Keys[0], own.PublicKey().String())

	h.allocate("web-1", "uid-1", 1, "")
	h.node.generate() // index 1 is passed over
	h.node.finish()
	w := h.allocate("web-1", "uid-1", 1, "")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	third, err := testSeed().SigningKey(2)
	require.NoError(t, err)
	require.Equal(t, []string{third.PublicKey().String()}, read[wire.Allocation](t, w).Keys)
}

func TestImportedKeyIsDisclosed(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.held("web-0", "uid-1", 1)
	keys := foreign(t, 1)
	h.imports(keys...)
	require.Equal(t, http.StatusNoContent, h.confirm(RoleOperator, keys[0].PublicKey().String(), h.key(keys[0]).Fence).Code)
	require.Equal(t, wire.KeyStateFree, h.key(keys[0]).State)
	require.Empty(t, h.key(keys[0]).RestsUntil)

	private, recipient := newRecipient(t, wire.KEMX25519)
	w := h.post(wire.AllocationRequest{Namespace: "default", Pod: "web-0", PodUID: "uid-1", Keys: 2, Recipient: recipient}, "")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	a := read[wire.Allocation](t, w)
	plaintext, err := a.Secrets.Open(private, wire.AllocationInfo("cluster-1", "default", "web-0", "uid-1"))
	require.NoError(t, err)
	secrets, err := wire.DecodeSecrets(plaintext)
	require.NoError(t, err)
	require.Equal(t, "m/12381/3600/0/0/0", secrets.Keys[0].Path)
	require.Equal(t, wire.KeySecret{Pubkey: keys[0].PublicKey().String(), Secret: keys[0].Bytes()}, secrets.Keys[1])
}

// Ciphertexts that changed places must not make the server hand out other keys.
func TestImportedKeyThatIsAnotherIsNotDisclosed(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	keys := foreign(t, 2)
	public := keys[0].PublicKey()
	h.node.must(&fsmpb.Command{Body: &fsmpb.Command_ImportKeys{ImportKeys: &fsmpb.ImportKeys{
		Keys: []*fsmpb.ImportedKey{{Pubkey: public[:], Sealed: unmask(keys[1].Bytes())}},
	}}})
	h.confirm(RoleOperator, public.String(), h.key(keys[0]).Fence)
	_, recipient := newRecipient(t, wire.KEMX25519)
	w := h.post(wire.AllocationRequest{Namespace: "default", Pod: "web-0", PodUID: "uid-1", Keys: 1, Recipient: recipient}, "")
	requireProblem(t, w, 500, internal, "")
	require.Contains(t, h.log.String(), "not the key of the allocation")
}

func TestImportsThatAreRefused(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	keys := foreign(t, 3)
	info, good := wire.ImportInfo("cluster-1"), plaintextOf(t, keys...)
	swapped := slices.Clone(good)
	copy(swapped[wire.ImportRecord:], plaintextOf(t, foreign(t, 4)[3])[:48]) // another's public key
	zero, order := slices.Clone(good), slices.Clone(good)
	clear(zero[len(zero)-32:])
	r, err := hex.DecodeString("73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001")
	require.NoError(t, err)
	copy(order[len(order)-32:], r)
	for name, c := range map[string]struct{ info, plaintext []byte }{
		"other cluster":      {wire.ImportInfo("cluster-2"), good},
		"sealed as a seed":   {wire.SeedInfo("cluster-1"), good},
		"nothing":            {info, nil},
		"cut":                {info, good[:len(good)-1]},
		"public key differs": {info, swapped},
		"zero":               {info, zero},
		"out of range":       {info, order},
		"twice":              {info, plaintextOf(t, keys[0], keys[1], keys[0])},
		"too many":           {info, make([]byte, (wire.MaxImport+1)*wire.ImportRecord)},
	} {
		t.Log(name)
		p := requireProblem(t, h.bring(c.info, c.plaintext), 400, invalidField, "sealed")
		for _, secret := range keys {
			require.NotContains(t, p.Detail, hex.EncodeToString(secret.Bytes()))
		}
	}
	to := h.seedStatus().Recipient
	sealed, err := to.Seal(info, good)
	require.NoError(t, err)
	_, other := newRecipient(t, wire.KEMMLKEM768X25519)
	requireProblem(t, h.bringSealed(RoleAdmin, wire.SealedKeys{Recipient: other, Sealed: sealed}), 409, staleRecipient, "")
	requireProblem(t, h.bringSealed(RoleOperator, wire.SealedKeys{Recipient: to, Sealed: sealed}), 403, forbidden, "")
	sealed.Ciphertext[len(sealed.Ciphertext)-1] ^= 1
	requireProblem(t, h.bringSealed(RoleAdmin, wire.SealedKeys{Recipient: to, Sealed: sealed}), 400, invalidField, "sealed")
	requireProblem(t, h.do(RoleAdmin, http.MethodPost, "/v1/keys/import", "{}"), 409, staleRecipient, "")
	require.Zero(t, h.node.proposals(), "none of them, not even those that were right")
	require.NotContains(t, h.log.String(), hex.EncodeToString(keys[0].Bytes()))
}

func TestLargestImport(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, result := range h.imports(foreign(t, wire.MaxImport)...) {
		require.Equal(t, wire.ImportResultImported, result)
	}
}

func TestSealedNodeTakesNoKeys(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.vault.sealUp("no key file")
	requireProblem(t, h.bring(wire.ImportInfo("cluster-1"), plaintextOf(t, foreign(t, 1)...)), 503, sealed, "")
}

func TestImportOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.node.onPropose = func(apply func() (any, error)) (any, error) {
		_, _ = apply()
		return nil, node.ErrUnknownOutcome
	}
	keys := foreign(t, 1)
	requireProblem(t, h.bring(wire.ImportInfo("cluster-1"), plaintextOf(t, keys...)), 503, outcomeUnknown, "")
	h.node.onPropose = nil
	require.Equal(t, []wire.ImportResult{"known"}, h.imports(keys...), "repeating is safe")
}

func TestConfirmStopped(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(c *Config) { c.RestAfterProof = time.Minute })
	keys := foreign(t, 2)
	h.imports(keys...)
	pubkey, fence := keys[0].PublicKey().String(), h.key(keys[0]).Fence
	requireProblem(t, h.confirm(RoleViewer, pubkey, fence), 403, forbidden, "")
	for _, f := range []int64{0, -1} {
		requireProblem(t, h.confirm(RoleOperator, pubkey, f), 400, invalidField, "fence")
	}
	requireProblem(t, h.do(RoleOperator, http.MethodPost, "/v1/keys/"+pubkey+"/confirm-stopped", `{}`), 400, invalidField, "fence")
	requireProblem(t, h.confirm(RoleOperator, pubkey, fence+5), 409, staleFence, "")
	requireProblem(t, h.confirm(RoleOperator, "0x12", fence), 400, invalidField, "pubkey")
	requireProblem(t, h.confirm(RoleOperator, "0x"+strings.Repeat("ab", 48), fence), 404, notFound, "")
	require.Equal(t, wire.KeyStateResting, h.key(keys[0]).State)

	for range 2 {
		require.Equal(t, http.StatusNoContent, h.confirm(RoleOperator, pubkey, fence).Code)
		require.Equal(t, wire.KeyStateResting, h.key(keys[0]).State)
		require.Contains(t, h.key(keys[0]).RestsUntil, "the-operator")
	}
	last := lastAudit(h.node.View())
	require.Equal(t, "key.proof", last.GetAction())
	require.Equal(t, pubkey, last.GetObject())
	require.Equal(t, "the-operator", last.GetCaller().GetName())
	h.node.must(&fsmpb.Command{Body: &fsmpb.Command_Tick{Tick: &fsmpb.Tick{ElapsedMs: 60_000}}})
	require.Equal(t, wire.KeyStateFree, h.key(keys[0]).State)
	require.Equal(t, wire.KeyStateResting, h.key(keys[1]).State)
	require.Equal(t, http.StatusNoContent, h.confirm(RoleOperator, pubkey, fence).Code, "once more says nothing new")
}

// Where nobody can testify a release by the caller is proof; that says nothing
// about a validator elsewhere.
func TestReleaseDoesNotEndARestSinceImport(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(c *Config) { c.Witness = WitnessNone })
	keys := foreign(t, 1)
	h.imports(keys...)
	h.allocate("web-0", "uid-1", 1, "")
	h.do(RoleOperator, http.MethodDelete, "/v1/allocations/default/web-0?fence=0", "")
	require.Equal(t, wire.KeyStateResting, h.key(keys[0]).State)
}
