package harden

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// hideMemory keeps debuggers and /proc/PID/mem of the same user away, and core dumps
// that are piped to a program, which ignore the limit; and lets as much memory be
// locked as may be.
func hideMemory() error {
	if limit := new(unix.Rlimit); unix.Getrlimit(unix.RLIMIT_MEMLOCK, limit) == nil && limit.Cur < limit.Max {
		limit.Cur = limit.Max
		_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, limit) // package seal says what it lacks
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("memory can not be hidden from other processes of this user: %w", err)
	}
	return nil
}
