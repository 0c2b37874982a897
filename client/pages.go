package client

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

const (
	pathKeys     = "/v1/keys"
	pathDeposits = "/v1/deposits"
)

// Key returns one key by its public key.
func (c *Client) Key(ctx context.Context, pubkey validator.PublicKey) (wire.Key, error) {
	key, err := get[wire.Key](ctx, c, call{method: http.MethodGet, path: pathKeys + "/" + pubkey.String()})
	if err != nil {
		return key, fmt.Errorf("key %s: %w", pubkey, err)
	}
	return key, nil
}

// KeyPage returns the keys behind a cursor, the first ones for an empty one, all
// of them or those in one state.
func (c *Client) KeyPage(ctx context.Context, state wire.KeyState, cursor string) (wire.KeyPage, error) {
	page, err := get[wire.KeyPage](ctx, c, pageCall(pathKeys, string(state), cursor))
	if err != nil {
		return page, fmt.Errorf("keys: %w", err)
	}
	return page, nil
}

// Keys goes through all keys, or those in one state, by public key. An error ends it.
func (c *Client) Keys(ctx context.Context, state wire.KeyState) iter.Seq2[wire.Key, error] {
	return through(func(cursor string) ([]wire.Key, string, error) {
		page, err := c.KeyPage(ctx, state, cursor)
		return page.Keys, page.NextCursor, err
	})
}

// Deposit returns the deposit for one public key.
func (c *Client) Deposit(ctx context.Context, pubkey validator.PublicKey) (wire.Deposit, error) {
	deposit, err := get[wire.Deposit](ctx, c, call{method: http.MethodGet, path: pathDeposits + "/" + pubkey.String()})
	if err != nil {
		return deposit, fmt.Errorf("deposit for %s: %w", pubkey, err)
	}
	return deposit, nil
}

// DepositPage returns the deposits behind a cursor, the first ones for an empty
// one, all of them or those in one state.
func (c *Client) DepositPage(ctx context.Context, state wire.DepositState, cursor string) (wire.DepositPage, error) {
	page, err := get[wire.DepositPage](ctx, c, pageCall(pathDeposits, string(state), cursor))
	if err != nil {
		return page, fmt.Errorf("deposits: %w", err)
	}
	return page, nil
}

// Deposits goes through all deposits, or those in one state, by public key. An
// error ends it.
func (c *Client) Deposits(ctx context.Context, state wire.DepositState) iter.Seq2[wire.Deposit, error] {
	return through(func(cursor string) ([]wire.Deposit, string, error) {
		page, err := c.DepositPage(ctx, state, cursor)
		return page.Deposits, page.NextCursor, err
	})
}

func pageCall(path, state, cursor string) call {
	query := url.Values{}
	if state != "" {
		query.Set("state", state)
	}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	return call{method: http.MethodGet, path: path, query: query}
}

// through yields the items of page after page. A cursor that comes again would
// never end and is an error.
func through[T any](page func(cursor string) ([]T, string, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		seen := map[string]bool{"": true}
		for cursor := ""; ; {
			items, next, err := page(cursor)
			if err != nil {
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			if seen[next] {
				yield(none, fmt.Errorf("%w: its pages go in a circle", ErrAnswer))
				return
			}
			seen[next], cursor = true, next
		}
	}
}
