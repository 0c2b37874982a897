// Package command is how the programs that torment clusters begin and end.
package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

var (
	// ErrUsage says that a command line asks for what there is not.
	ErrUsage = errors.New("wrong usage")
	// ErrViolations says that a cluster broke a promise. Which, the program has told.
	ErrViolations = errors.New("there were violations")
)

// Main runs a program with its arguments under a context that ends with the first signal
// to end, and exits with 1 if it fails.
func Main(name string, run func(ctx context.Context, args []string) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case err == nil:
		return
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, name+": interrupted")
	case !errors.Is(err, ErrViolations):
		fmt.Fprintln(os.Stderr, name+":", err)
	}
	os.Exit(1)
}
