package node

import (
	"context"
	"time"
)

// confirmLook is how often it is looked whether a restore was confirmed.
const confirmLook = 500 * time.Millisecond

// HeldBack is a duty that does not begin while a restored backup is unconfirmed: what
// it would do, or tell the cluster, is about pods and clouds of a history that is not
// known. A restore always begins a new session, so none runs on into one.
func HeldBack(d Duty) Duty {
	return DutyFunc(d.Name(), func(ctx context.Context, s *Session) error {
		if s.View().RestoreOpen() {
			s.node.log.Warn("this duty waits until the restored backup is confirmed", "duty", d.Name())
		}
		for s.View().RestoreOpen() {
			if pause(ctx, confirmLook) != nil {
				return ctx.Err() //nolint:wrapcheck // the caller asks the context
			}
		}
		return d.Run(ctx, s)
	})
}
