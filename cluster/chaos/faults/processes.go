package faults

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

// endTime is how long a process that was killed may take to end.
const endTime = 10 * time.Second

// Kill ends a node without warning (SIGKILL); it is healed by starting it again.
func (s Stage) Kill(i int) Fault {
	return New("kill "+NodeName(i), func(ctx context.Context) (func(context.Context) error, error) {
		return s.start(i), s.kill(ctx, i)
	})
}

// Pause stops a node in the middle of what it does (SIGSTOP); it is healed by letting
// it go on.
func (s Stage) Pause(i int) Fault {
	return New("pause "+NodeName(i), func(context.Context) (func(context.Context) error, error) {
		heal := func(context.Context) error { return s.Nodes.Signal(i, syscall.SIGCONT) } //nolint:wrapcheck // New says what
		return heal, s.Nodes.Signal(i, syscall.SIGSTOP)                                   //nolint:wrapcheck // New says what
	})
}

// kill returns when the process of the node has ended.
func (s Stage) kill(ctx context.Context, i int) error {
	if err := s.Nodes.Signal(i, syscall.SIGKILL); err != nil {
		return err //nolint:wrapcheck // New says what
	}
	return s.awaitEnd(ctx, i, endTime)
}

func (s Stage) awaitEnd(ctx context.Context, i int, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return s.Nodes.AwaitEnd(ctx, i) //nolint:wrapcheck // New says what
}

// start returns a function that starts the node, if it does not run.
func (s Stage) start(i int) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := s.Nodes.StartNode(ctx, i); err != nil {
			return fmt.Errorf("start again: %w", err)
		}
		return nil
	}
}
