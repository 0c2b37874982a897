package clienttest

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/keysteward/keysteward/api/wire"
)

func (c *Cluster) listTokens(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	answer(w, http.StatusOK, wire.TokenList{Tokens: append([]wire.Token{}, c.tokens...)})
}

func (c *Cluster) createToken(w http.ResponseWriter, r *http.Request) {
	var body wire.NewToken
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || len(body.Sha256) != 64 {
		Problem(w, http.StatusBadRequest, "invalid-field", "sha256: want 64 hex digits")
		return
	}
	made := wire.Token{
		ID: body.Sha256[:16], Name: body.Name, Role: body.Role, Namespaces: body.Namespaces, Projects: body.Projects,
		Expires: body.Expires, Created: time.Unix(1_800_000_000, 0).UTC(), CreatedBy: "root",
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens = append(c.tokens, made)
	answer(w, http.StatusOK, made)
}

func (c *Cluster) revokeToken(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, t := range c.tokens {
		if t.ID == r.PathValue("id") {
			c.tokens = append(c.tokens[:i], c.tokens[i+1:]...)
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	Problem(w, http.StatusNotFound, "not-found", "there is no such token")
}
