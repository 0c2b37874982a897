package clienttest

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/keysteward/keysteward/api/wire"
)

// retireKey retires any key that was handed out; one that is held only with force.
func (c *Cluster) retireKey(w http.ResponseWriter, r *http.Request) {
	var body wire.Retirement
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		Problem(w, http.StatusBadRequest, "malformed-body", err.Error())
		return
	}
	for _, key := range c.keys("") {
		if key.Pubkey != r.PathValue("pubkey") {
			continue
		}
		if key.Holder.Pod != "" && !body.Force {
			Problem(w, http.StatusConflict, "key-in-use", "the key is held by pod "+key.Holder.Namespace+"/"+key.Holder.Pod)
			return
		}
		c.Retire(key.Pubkey, "operator", body.Reason)
		key, _ = c.retiredKey(key.Pubkey)
		answer(w, http.StatusOK, key)
		return
	}
	Problem(w, http.StatusNotFound, "not-found", "there is no such key")
}

func (c *Cluster) retiredKey(pubkey string) (wire.Key, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key, ok := c.retired[pubkey]
	return key, ok
}

// Retire takes a key out of use, and out of the allocation of whichever pod holds it.
func (c *Cluster) Retire(pubkey, reason, detail string) {
	for _, key := range c.keys("") {
		if key.Pubkey != pubkey {
			continue
		}
		key.State, key.Holder, key.RetiredReason, key.RetiredDetail = wire.KeyStateRetired, wire.Pod{}, reason, detail
		c.mu.Lock()
		defer c.mu.Unlock()
		c.retired[pubkey] = key
		for name, a := range c.allocations {
			if !slices.Contains(a.Keys, pubkey) {
				continue
			}
			c.fence++
			a.Fence, a.Keys = c.fence, slices.DeleteFunc(slices.Clone(a.Keys), func(k string) bool { return k == pubkey })
			if len(a.Keys) == 0 {
				delete(c.allocations, name)
			}
		}
		return
	}
}
