package client

import (
	"context"
	"fmt"
	"net/http"
)

// ResumeDeposits is the caller's word that deposits may go on although something
// else used the funding account: what stops them now is taken back, and nonces
// that were used by others are given up. Where nothing is stopped it changes
// nothing.
func (c *Client) ResumeDeposits(ctx context.Context) error {
	if _, err := c.do(ctx, call{method: http.MethodPost, path: pathDeposits + "/resume"}); err != nil {
		return fmt.Errorf("resume deposits: %w", err)
	}
	return nil
}
