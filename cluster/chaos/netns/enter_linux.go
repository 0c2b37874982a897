package netns

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// inside is set for a process that Enter started.
const inside = "KEYSTEWARD_CHAOS_NETNS"

// endTime is how long a process that was told to end may take.
const endTime = 30 * time.Second

// Inside reports whether this process was started by Enter.
func Inside() bool { return os.Getenv(inside) != "" }

// Enter runs this very program with these arguments in a fresh network namespace, to its
// end, with our input and output. It ends with the context, and dies if we die.
func Enter(ctx context.Context, args ...string) error {
	// The kernel kills it when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...) //nolint:gosec // this very program
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = endTime
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("in a network namespace: %w", err)
	}
	return nil
}
