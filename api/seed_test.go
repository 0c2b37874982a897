package api

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
)

func (h *harness) seedStatus() wire.SeedStatus {
	h.Helper()
	w := h.do(RoleAdmin, http.MethodGet, "/v1/seed", "")
	require.Equal(h, http.StatusOK, w.Code)
	return read[wire.SeedStatus](h.T, w)
}

// submit seals what should be a seed as the client would.
func (h *harness) submit(to wire.Recipient, info, seed []byte) *responseRecorder {
	h.Helper()
	sealed, err := to.Seal(info, seed)
	require.NoError(h, err)
	return h.submitSealed(wire.SealedSeed{Recipient: to, Sealed: sealed})
}

func (h *harness) submitSealed(s wire.SealedSeed) *responseRecorder {
	h.Helper()
	data, err := json.Marshal(s)
	require.NoError(h, err)
	return h.do(RoleAdmin, http.MethodPut, "/v1/seed", string(data))
}

func TestSeedIsInstalledOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	s := h.seedStatus()
	require.False(t, s.Installed)
	require.Equal(t, "cluster-1", s.ClusterID)
	require.NoError(t, s.Recipient.Check())

	info := wire.SeedInfo(s.ClusterID)
	require.Equal(t, http.StatusNoContent, h.submit(s.Recipient, info, testSeed().Bytes()).Code)
	require.Equal(t, "the-admin", h.vault.by.GetName())
	s = h.seedStatus()
	require.True(t, s.Installed)
	require.Equal(t, testSeed().Fingerprint(), s.Fingerprint)

	require.Equal(t, http.StatusNoContent, h.submit(s.Recipient, info, testSeed().Bytes()).Code, "the same again changes nothing")
	requireProblem(t, h.submit(s.Recipient, info, make([]byte, 64)), 409, seedExists, "")
	require.Equal(t, testSeed().Fingerprint(), h.seedStatus().Fingerprint)
}

func TestSeedsThatAreRefused(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	to := h.seedStatus().Recipient
	info := wire.SeedInfo("cluster-1")
	_, other := newRecipient(t, wire.KEMMLKEM768X25519)
	requireProblem(t, h.submit(other, info, testSeed().Bytes()), 409, staleRecipient, "")
	requireProblem(t, h.submit(to, wire.SeedInfo("cluster-2"), testSeed().Bytes()), 400, invalidField, "sealed")
	requireProblem(t, h.submit(to, info, testSeed().Bytes()[:63]), 400, invalidField, "sealed")
	requireProblem(t, h.submit(to, info, nil), 400, invalidField, "sealed")
	sealed, err := to.Seal(info, testSeed().Bytes())
	require.NoError(t, err)
	sealed.Ciphertext[len(sealed.Ciphertext)-1] ^= 1
	requireProblem(t, h.submitSealed(wire.SealedSeed{Recipient: to, Sealed: sealed}), 400, invalidField, "sealed")
	requireProblem(t, h.submitSealed(wire.SealedSeed{Recipient: to}), 400, invalidField, "sealed")
	requireProblem(t, h.do(RoleAdmin, http.MethodPut, "/v1/seed", "{}"), 409, staleRecipient, "")
	requireProblem(t, h.do(RoleAdmin, http.MethodPut, "/v1/seed", `{"mnemonic":"abandon"}`), 400, invalidField, "mnemonic")
	require.False(t, h.seedStatus().Installed)
}

func TestSealedNodeTakesNoSeed(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	to := h.seedStatus().Recipient
	h.vault.sealUp("no key file")
	requireProblem(t, h.submit(to, wire.SeedInfo("cluster-1"), testSeed().Bytes()), 503, sealed, "")
}

// After a change of leader the client reads the recipient again.
func TestEveryServerHasItsOwnRecipient(t *testing.T) {
	t.Parallel()
	a, b := newHarness(t), newHarness(t)
	require.NotEqual(t, a.seedStatus().Recipient.Key, b.seedStatus().Recipient.Key)
	w := b.submit(a.seedStatus().Recipient, wire.SeedInfo("cluster-1"), testSeed().Bytes())
	requireProblem(t, w, 409, staleRecipient, "")
}
