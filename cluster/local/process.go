package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// killDelay is how long a command that was told to end may take.
const killDelay = 5 * time.Second

// process is a child that runs, or has run.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it was waited for
}

// childEnvironment is ours without what would configure a child behind its flags.
func childEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(entry string) bool {
		return strings.HasPrefix(entry, "KEYSTEWARD_")
	})
}

// command returns a child that is started in a process group of its own, so that
// Ctrl-C in a terminal reaches the launcher alone, and it decides who stops when.
func command(ctx context.Context, binary string, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary, args...) //nolint:gosec // our own binary and arguments
	cmd.Env = childEnvironment()
	cmd.SysProcAttr = childAttributes()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killDelay
	return cmd
}

// startProcess starts a child whose output goes to a file. It sees our environment
// and these variables besides.
func startProcess(ctx context.Context, s starter, name, binary string, args, env []string, log *os.File) (*process, error) {
	// It ends when it is told so, not with the context of its start.
	p := &process{name: name, cmd: command(context.WithoutCancel(ctx), binary, args), done: make(chan struct{})}
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := s.start(p.cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // ProcessState tells the same
	}()
	return p, nil
}

// runCommand runs a child to its end and hands its output on. When the context
// ends, so does the child.
func runCommand(ctx context.Context, s *spawner, binary string, args []string, stdout, stderr io.Writer) error {
	cmd := command(ctx, binary, args)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	name := "keysteward " + args[0]
	if err := s.start(cmd); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	err := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx) //nolint:wrapcheck // the caller's own reason
	case err != nil && cmd.ProcessState != nil:
		return fmt.Errorf("%s: %s", name, describe(cmd.ProcessState))
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// running is false once the process has ended and was waited for.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// signal sends a signal; a process that has ended is no error.
func (p *process) signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.name, err)
	}
	return nil
}

// outcome says in words how a process that is done has ended.
func (p *process) outcome() string { return describe(p.cmd.ProcessState) }

func describe(state *os.ProcessState) string {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return "killed by " + signalName(status.Signal())
	}
	return fmt.Sprintf("exit code %d", state.ExitCode())
}

// signalName returns the name that kill(1) takes.
func signalName(sig syscall.Signal) string {
	switch sig {
	case syscall.SIGKILL:
		return "SIGKILL"
	case syscall.SIGTERM:
		return "SIGTERM"
	case syscall.SIGINT:
		return "SIGINT"
	case syscall.SIGSEGV:
		return "SIGSEGV"
	case syscall.SIGABRT:
		return "SIGABRT"
	default:
		return "signal " + sig.String()
	}
}
