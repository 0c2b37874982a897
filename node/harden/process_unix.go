//go:build unix

package harden

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Process is called before anything secret is read: no core dump holds the memory, no
// other process of the same user reads it, and files that are made are for their
// owner alone. The error says what was not possible; it is no reason to stop.
func Process() error {
	unix.Umask(0o077)
	var failures []error
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		failures = append(failures, fmt.Errorf("core dumps can not be switched off: %w", err))
	}
	return errors.Join(append(failures, hideMemory())...)
}
