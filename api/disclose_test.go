package api

import (
	"crypto/hpke"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

func newRecipient(t *testing.T, kem wire.RecipientKem) (hpke.PrivateKey, wire.Recipient) {
	t.Helper()
	private, recipient, err := wire.NewRecipient(kem)
	require.NoError(t, err)
	return private, recipient
}

func TestSecretsReachTheRecipient(t *testing.T) {
	t.Parallel()
	for _, kem := range []wire.RecipientKem{wire.KEMX25519, wire.KEMMLKEM768X25519} {
		t.Run(fmt.Sprint(kem), func(t *testing.T) {
			t.Parallel()
			h := seeded(t)
			h.held("web-0", "uid-1", 3)
			private, recipient := newRecipient(t, kem)
			w := h.post(wire.AllocationRequest{Namespace: "default", Pod: "web-0", PodUID: "uid-1", Keys: 3, Recipient: recipient}, "")
			require.Equal(t, http.StatusOK, w.Code)
			require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
			a := read[wire.Allocation](t, w)

			plaintext, err := a.Secrets.Open(private, wire.AllocationInfo("cluster-1", "default", "web-0", "uid-1"))
			require.NoError(t, err)
			secrets, err := wire.DecodeSecrets(plaintext)
			require.NoError(t, err)
			require.Equal(t, a.Fence, secrets.Fence)
			require.Len(t, secrets.Keys, 3)
			for i, k := range secrets.Keys {
				require.Equal(t, a.Keys[i], k.Pubkey)
				require.Equal(t, fmt.Sprintf("m/12381/3600/%d/0/0", i), k.Path)
				secret, err := validator.SecretKeyFromBytes(k.Secret)
				require.NoError(t, err)
				require.Equal(t, k.Pubkey, secret.PublicKey().String())
				require.NotContains(t, w.Body.String(), hex.EncodeToString(k.Secret))
			}
			for _, info := range [][]byte{
				wire.AllocationInfo("cluster-2", "default", "web-0", "uid-1"), wire.AllocationInfo("cluster-1", "defaul", "tweb-0", "uid-1"),
				wire.AllocationInfo("cluster-1", "default", "web-0", "uid-2"), wire.SeedInfo("cluster-1"), nil,
			} {
				_, err := a.Secrets.Open(private, info)
				require.ErrorIs(t, err, wire.ErrSealed, "bound to what was asked")
			}
			other, _ := newRecipient(t, kem)
			_, err = a.Secrets.Open(other, wire.AllocationInfo("cluster-1", "default", "web-0", "uid-1"))
			require.ErrorIs(t, err, wire.ErrSealed)
		})
	}
}

func TestDisclosureIsRecordedBeforeItHappens(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	_, recipient := newRecipient(t, wire.KEMX25519)
	ask := wire.AllocationRequest{Namespace: "default", Pod: "web-0", PodUID: "uid-1", Keys: 1, Recipient: recipient}
	require.Equal(t, http.StatusAccepted, h.post(ask, "").Code)
	h.node.finish()
	require.NotEqual(t, "key.disclose", lastAudit(h.node.View()).GetAction())
	require.Equal(t, http.StatusOK, h.post(ask, "", header("X-Request-Id", "disclosing")).Code)
	last := lastAudit(h.node.View())
	require.Equal(t, "key.disclose", last.GetAction())
	require.Equal(t, "the-operator", last.GetCaller().GetName())
	require.Equal(t, "disclosing", last.GetRequestId())

	h.node.onPropose = func(func() (any, error)) (any, error) { return nil, errRefused }
	w := h.post(ask, "")
	require.NotEqual(t, http.StatusOK, w.Code, "no record, no secrets")
	require.NotContains(t, w.Body.String(), "ciphertext")
}

func TestSealedNodeAllocatesNothingForARecipient(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.vault.sealUp("the key file /etc/kek is missing")
	_, recipient := newRecipient(t, wire.KEMX25519)
	ask := wire.AllocationRequest{Namespace: "default", Pod: "web-0", PodUID: "uid-1", Keys: 1, Recipient: recipient}
	w := h.post(ask, "?wait=30s")
	require.Contains(t, requireProblem(t, w, 503, sealed, "").Detail, "/etc/kek")
	require.Equal(t, "5", w.Header().Get("Retry-After"))
	require.Zero(t, h.node.proposals())

	ask.Recipient = wire.Recipient{}
	require.Equal(t, http.StatusBadRequest, h.post(wire.AllocationRequest{Recipient: recipient}, "").Code, "the caller's faults first")
	require.Equal(t, http.StatusAccepted, h.allocate("web-0", "uid-1", 1, "").Code, "public parts need no key")
}

func TestSealedInTheMiddle(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.held("web-0", "uid-1", 1)
	h.node.onPropose = func(apply func() (any, error)) (any, error) {
		h.vault.sealUp("just now")
		return apply()
	}
	_, recipient := newRecipient(t, wire.KEMX25519)
	w := h.post(wire.AllocationRequest{Namespace: "default", Pod: "web-0", PodUID: "uid-1", Keys: 1, Recipient: recipient}, "")
	requireProblem(t, w, 503, sealed, "")
}

// A vault with another seed must not make the server hand out other keys.
func TestKeysThatDoNotMatchAreNotGivenAway(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	h.held("web-0", "uid-1", 1)
	other, err := validator.SeedFromBytes(make([]byte, 64))
	require.NoError(t, err)
	h.vault.seed = other
	_, recipient := newRecipient(t, wire.KEMX25519)
	w := h.post(wire.AllocationRequest{Namespace: "default", Pod: "web-0", PodUID: "uid-1", Keys: 1, Recipient: recipient}, "")
	requireProblem(t, w, 500, internal, "")
	require.Contains(t, h.log.String(), "not the key of the allocation")
}

func TestPanicsTellNothing(t *testing.T) {
	t.Parallel()
	for _, v := range []any{"boom", errors.New("boom"), struct{ Secret string }{"kst_secret"}} {
		h := seeded(t)
		h.node.onPropose = func(func() (any, error)) (any, error) { panic(v) }
		w := h.allocate("web-0", "uid-1", 1, "")
		p := requireProblem(t, w, 500, internal, "")
		require.NotContains(t, p.Detail, "boom")
		require.Contains(t, h.log.String(), "a handler panicked")
		require.Contains(t, h.log.String(), p.RequestID)
		require.NotContains(t, h.log.String(), "kst_secret")
		h.node.onPropose = nil
		require.Equal(t, http.StatusAccepted, h.allocate("web-0", "uid-1", 1, "").Code, "the server goes on")
	}
}
