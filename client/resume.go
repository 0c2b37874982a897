package client

import (
	"context"
	"fmt"
	"net/http"

	"github.com/keysteward/keysteward/api/wire"
)

// ResumeDeposits is the caller's word that deposits may go on from an account
// although something else used it, as the account's stop tells: the stop is taken
// back, and nonces that were used by others are given up. Where nothing is stopped
// it changes nothing; if more was seen since, it is refused with TypeStaleStop.
func (c *Client) ResumeDeposits(ctx context.Context, a wire.FundingAccount) error {
	body, err := encode(wire.SeenStop{ChainID: a.ChainID, Account: a.Address, Nonce: a.Stop.Nonce})
	if err != nil {
		return err
	}
	if _, err := c.do(ctx, call{method: http.MethodPost, path: pathDeposits + "/resume", body: body}); err != nil {
		return fmt.Errorf("resume deposits from account %s: %w", a.Address, err)
	}
	return nil
}
