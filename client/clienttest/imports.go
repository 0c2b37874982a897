package clienttest

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// Imported returns the keys that were brought, in their order.
func (c *Cluster) Imported() []wire.Key {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.imported)
}

// Import lets the cluster have had a key for long.
func (c *Cluster) Import(key wire.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.imported = append(c.imported, key)
}

func (c *Cluster) importKeys(w http.ResponseWriter, r *http.Request) {
	var body wire.SealedKeys
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		Problem(w, http.StatusBadRequest, "malformed-body", err.Error())
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(body.Recipient.Key, c.identity.recipient.Key) {
		Problem(w, http.StatusConflict, "stale-recipient", "the leader has changed; read the recipient again")
		return
	}
	plaintext, err := body.Sealed.Open(c.identity.private, wire.ImportInfo(ClusterID))
	if err != nil {
		Problem(w, http.StatusBadRequest, "invalid-field", err.Error())
		return
	}
	_, records, err := wire.ImportRecords(plaintext)
	if err != nil {
		Problem(w, http.StatusBadRequest, "invalid-field", err.Error())
		return
	}
	list := wire.ImportedKeys{Keys: []wire.ImportedKey{}}
	for public, raw := range records {
		secret, err := validator.SecretKeyFromBytes(raw)
		if err != nil || secret.PublicKey() != validator.PublicKey(public) {
			Problem(w, http.StatusBadRequest, "invalid-field", "a secret is not that of its public key")
			return
		}
		list.Keys = append(list.Keys, wire.ImportedKey{Pubkey: secret.PublicKey().String(), Result: c.take(secret.PublicKey().String())})
	}
	answer(w, http.StatusOK, list)
}

func (c *Cluster) take(pubkey string) wire.ImportResult {
	if slices.ContainsFunc(c.imported, func(k wire.Key) bool { return k.Pubkey == pubkey }) {
		return wire.ImportResultKnown
	}
	c.fence++
	c.imported = append(c.imported, wire.Key{
		Pubkey: pubkey, State: wire.KeyStateResting, Fence: c.fence, Imported: true, RestsUntil: "until an operator confirms",
	})
	return wire.ImportResultImported
}

func (c *Cluster) confirmStopped(w http.ResponseWriter, r *http.Request) {
	var body wire.StoppedKey
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		Problem(w, http.StatusBadRequest, "malformed-body", err.Error())
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, k := range c.imported {
		switch {
		case k.Pubkey != r.PathValue("pubkey"):
			continue
		case k.Fence != body.Fence:
			Problem(w, http.StatusConflict, "stale-fence", "the key has moved on")
			return
		}
		c.imported[i].State, c.imported[i].RestsUntil = wire.KeyStateFree, ""
		w.WriteHeader(http.StatusNoContent)
		return
	}
	Problem(w, http.StatusNotFound, "not-found", "no such key was imported")
}
