package client

import (
	"context"
	"fmt"
	"net/http"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// Retired are keys that a caller has from before and that the cluster took out of
// use for good. They were not taken from their pod for another: nobody gets them.
type Retired struct {
	// Ended are those of validators that exited, were slashed or withdrawn. The
	// chain has no more duties for them, so it does not matter who has them.
	Ended []validator.PublicKey
	// Revoked are those that were retired for another reason, mostly an operator's
	// word. Nobody may sign with them.
	Revoked []validator.PublicKey
}

// endedBy are the reasons of retirement after which a validator has nothing to sign.
var endedBy = map[string]bool{"exited": true, "slashed": true, "withdrawn": true}

// includes reports whether the key is one of them.
func (r Retired) includes(key validator.PublicKey) bool {
	for _, list := range [][]validator.PublicKey{r.Ended, r.Revoked} {
		for _, k := range list {
			if k == key {
				return true
			}
		}
	}
	return false
}

// addIfRetired asks for a key, adds it if it is retired, and reports whether it is.
// A key that the cluster does not know is not.
func (c *Client) addIfRetired(ctx context.Context, r *Retired, pubkey validator.PublicKey, manners call) (bool, error) {
	key, err := get[wire.Key](ctx, c, call{
		method: http.MethodGet, path: pathKeys + "/" + pubkey.String(), patient: manners.patient, trouble: manners.trouble,
	})
	switch {
	case IsType(err, TypeNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("key %s: %w", pubkey, err)
	case key.Pubkey != pubkey.String():
		return false, fmt.Errorf("%w: asked for key %s, told of %q", ErrAnswer, pubkey, key.Pubkey)
	case key.State != wire.KeyStateRetired:
		return false, nil
	case endedBy[key.RetiredReason]:
		r.Ended = append(r.Ended, pubkey)
	default:
		r.Revoked = append(r.Revoked, pubkey)
	}
	return true, nil
}

// addRetiredMeanwhile looks at the keys of the caller that are not in its
// allocation: they may have been retired while it waited. What is neither is left
// to the caller to find.
func (c *Client) addRetiredMeanwhile(ctx context.Context, r *Retired, has []validator.PublicKey, a wire.Allocation, manners call) error {
	granted := map[string]bool{}
	for _, key := range a.Keys {
		granted[key] = true
	}
	for _, key := range has {
		if granted[key.String()] || r.includes(key) {
			continue
		}
		if _, err := c.addIfRetired(ctx, r, key, manners); err != nil {
			return err
		}
	}
	return nil
}
