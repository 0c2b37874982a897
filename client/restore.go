package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/keysteward/keysteward/api/wire"
)

const pathRestore = "/v1/restore"

// Restore tells of the backup that was restored last, and of what is missing until
// it can be confirmed. Its number is 0 if there never was one.
func (c *Client) Restore(ctx context.Context) (wire.Restore, error) {
	r, err := get[wire.Restore](ctx, c, call{method: http.MethodGet, path: pathRestore})
	if err != nil {
		return r, fmt.Errorf("restore: %w", err)
	}
	return r, nil
}

// ConfirmRestore is the caller's word that no validator runs with a key of the
// cluster, but for those in the pods that its allocations show; noDeposits, besides,
// that nobody ever made a deposit with its seed. It ends what the restore with this
// number holds back. A Problem of type restore-incomplete says what has to be found
// out before. Repeating the call is safe.
func (c *Client) ConfirmRestore(ctx context.Context, number int64, noDeposits bool) error {
	body, err := encode(wire.RestoreWord{Number: number, ValidatorsStopped: true, NoDeposits: noDeposits})
	if err != nil {
		return err
	}
	if _, err := c.do(ctx, call{method: http.MethodPost, path: pathRestore + "/confirm", body: body}); err != nil {
		return fmt.Errorf("confirm restore %d: %w", number, err)
	}
	return nil
}

// ConfirmToken lets a bearer token in again that a restore suspended.
func (c *Client) ConfirmToken(ctx context.Context, id string) (wire.Token, error) {
	t, err := get[wire.Token](ctx, c, call{method: http.MethodPost, path: pathTokens + "/" + url.PathEscape(id) + "/confirm"})
	if err != nil {
		return t, fmt.Errorf("confirm token %s: %w", id, err)
	}
	return t, nil
}
