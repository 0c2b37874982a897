package client

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/keysteward/keysteward/api/wire"
)

const pathTokens = "/v1/tokens"

// tokenPrefix lets scanners of source and logs find a token that leaked.
const tokenPrefix = "kst_"

// MintToken makes a bearer token of 32 random bytes. It lets nobody in until a
// cluster was told of it with CreateToken.
func MintToken() Token {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails
	defer clear(secret[:])
	return Token(tokenPrefix + hex.EncodeToString(secret[:]))
}

// TokenGrant is whom a bearer token lets in.
type TokenGrant struct {
	// Name of the caller, for people.
	Name string
	Role wire.TokenRole
	// Namespaces and Projects limit the caller; the whole cluster if both are empty.
	Namespaces, Projects []string
	// Expires is never if it is zero.
	Expires time.Time
}

// CreateToken lets the owner of a token in. Only its SHA-256 is sent. Repeating the
// call is safe.
func (c *Client) CreateToken(ctx context.Context, token Token, to TokenGrant) (wire.Token, error) {
	hash := sha256.Sum256([]byte(token))
	body, err := encode(wire.NewToken{
		Name: to.Name, Role: to.Role, Namespaces: to.Namespaces, Projects: to.Projects,
		Expires: to.Expires, Sha256: hex.EncodeToString(hash[:]),
	})
	if err != nil {
		return wire.Token{}, err
	}
	made, err := get[wire.Token](ctx, c, call{method: http.MethodPost, path: pathTokens, body: body})
	if err != nil {
		return made, fmt.Errorf("create token of %s: %w", to.Name, err)
	}
	if made.ID != hex.EncodeToString(hash[:8]) {
		return made, fmt.Errorf("%w: asked for a token, told of another, %q", ErrAnswer, made.ID)
	}
	return made, nil
}

// Tokens lists the bearer tokens that the cluster knows, by ID.
func (c *Client) Tokens(ctx context.Context) ([]wire.Token, error) {
	list, err := get[wire.TokenList](ctx, c, call{method: http.MethodGet, path: pathTokens})
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	return list.Tokens, nil
}

// RevokeToken takes a bearer token back. A Problem of type not-found says that there
// is none, or no longer.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	r, err := c.do(ctx, call{method: http.MethodDelete, path: pathTokens + "/" + url.PathEscape(id)})
	if r.uncertain && IsType(err, TypeNotFound) { // an earlier try was carried out
		return nil
	}
	if err != nil {
		return fmt.Errorf("revoke token %s: %w", id, err)
	}
	return nil
}
