package node

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// giveUp makes connections fail once what was sent stays unacknowledged for so long
// (TCP_USER_TIMEOUT, RFC 5482). By itself TCP would try for a quarter of an hour.
func giveUp(after time.Duration) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(after.Milliseconds()))
		})
		if err == nil {
			err = failed
		}
		if err != nil {
			return fmt.Errorf("TCP user time-out: %w", err)
		}
		return nil
	}
}
