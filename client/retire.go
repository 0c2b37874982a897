package client

import (
	"context"
	"fmt"
	"net/http"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// TypeKeyInUse is the type of the problem that a key is held, rests, or has a
// deposit on its way.
const TypeKeyInUse = "key-in-use"

// RetireKey takes a key out of use for good and returns it. The reason is kept
// with it. A Problem of type key-in-use says that it needs force.
func (c *Client) RetireKey(ctx context.Context, pubkey validator.PublicKey, reason string, force bool) (wire.Key, error) {
	body, err := encode(wire.Retirement{Reason: reason, Force: force})
	if err != nil {
		return wire.Key{}, err
	}
	key, err := get[wire.Key](ctx, c, call{method: http.MethodPost, path: pathKeys + "/" + pubkey.String() + "/retire", body: body})
	if err != nil {
		return key, fmt.Errorf("retire key %s: %w", pubkey, err)
	}
	return key, nil
}
