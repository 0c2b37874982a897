package clouds

import (
	"context"
	"math/rand/v2"
	"time"
)

// pauseAfter is how long to wait after so many failures in a row, the first being 1:
// twice as long each time, between half and all of that.
func (c *Config) pauseAfter(failures int) time.Duration {
	pause := c.RetryMin << min(failures-1, maxRetrySteps)
	if pause > c.RetryMax || pause <= 0 {
		pause = c.RetryMax
	}
	return pause/2 + rand.N(pause/2+1) //nolint:gosec // no secret
}

// sleep waits, and reports whether it ended by time and not by ctx or a call.
func sleep(ctx context.Context, d time.Duration, called <-chan struct{}) (byTime bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-called:
	case <-ctx.Done():
	}
	return false
}

// take takes one of a bounded number of slots and returns how to give it back.
func take(ctx context.Context, slots chan struct{}) (release func(), err error) {
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err() //nolint:wrapcheck // the caller knows
	}
}
