// Package await waits for what processes do in their own time.
package await

import (
	"context"
	"time"
)

// look is how often it is looked.
const look = 50 * time.Millisecond

// Until calls check until it answers true or fails. After the limit it returns late, or
// why the context ended.
func Until(ctx context.Context, limit time.Duration, late error, check func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, late)
	defer cancel()
	return Poll(ctx, check)
}

// Poll is [Until] for a context that has the limit.
func Poll(ctx context.Context, check func() (bool, error)) error {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		if done, err := check(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx) //nolint:wrapcheck // the caller's own reason
		case <-ticker.C:
		}
	}
}

// For is [Until] for a check that can not fail.
func For(ctx context.Context, limit time.Duration, late error, check func() bool) error {
	return Until(ctx, limit, late, func() (bool, error) { return check(), nil })
}
