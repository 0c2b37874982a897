package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"unicode"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel/propagation"

	"github.com/keysteward/keysteward/client"
)

// Exit codes.
const (
	// ExitOK means that all was done.
	ExitOK = 0
	// ExitFailure means that it was not, and that repeating it alone will not help.
	ExitFailure = 1
	// ExitUsage means a wrong flag, argument or environment variable; nobody was asked.
	ExitUsage = 2
	// ExitPending means that time ran out while keys, certificates or a logical cloud
	// were on their way. Repeating the command goes on where this one ended.
	ExitPending = 3
	// ExitUnknown means that no server could be reached in time, or that nobody knows
	// whether a change happened. Repeating the command is safe, but for a restore.
	ExitUnknown = 4
	// ExitPoolShort means that the pool has too few free keys and that no deposits
	// are made. Nothing was assigned; it helps to repeat the command once keys were
	// released.
	ExitPoolShort = 5
)

const exitHelp = `Exit codes: 0 done; 1 failed; 2 wrong flag, argument or environment variable;
3 time ran out while keys or certificates were on their way (repeat to go on);
4 no server could be reached or the outcome is unknown (repeating is safe, but for a
restore); 5 the pool has too few free keys and deposits are off (nothing was assigned).`

// usageError is a mistake of whoever typed the command.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// UsageError makes err end the process with [ExitUsage].
func UsageError(err error) error { return usageError{err} }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitCode maps an error to what scripts are told.
func exitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	if _, ok := errors.AsType[usageError](err); ok || errors.Is(err, client.ErrRequest) || errors.Is(err, client.ErrServer) {
		return ExitUsage
	}
	if _, ok := errors.AsType[*client.PendingError](err); ok {
		return ExitPending
	}
	if _, ok := errors.AsType[*client.KubeconfigPendingError](err); ok {
		return ExitPending
	}
	if _, ok := errors.AsType[*client.CloudPendingError](err); ok {
		return ExitPending
	}
	if client.IsType(err, client.TypePoolShort) {
		return ExitPoolShort
	}
	if errors.Is(err, client.ErrOutcomeUnknown) || errors.Is(err, client.ErrUnavailable) {
		return ExitUnknown
	}
	return ExitFailure
}

// Main runs a root command with the arguments, streams and signals of the process
// and returns its exit code. The first SIGINT or SIGTERM cancels the command's
// context; a second one ends the process.
func Main(root *cobra.Command) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	// Whoever is traced and starts us tells by this variable, as OpenTelemetry has it.
	return Run(propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": os.Getenv("TRACEPARENT")}), root)
}

// Run runs a root command, tells its error on its stderr, and returns its exit code.
func Run(ctx context.Context, root *cobra.Command) int {
	tame(root)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintf(root.ErrOrStderr(), "keysteward: %s\n", oneLine(err.Error()))
		if exitCode(err) == ExitUsage {
			fmt.Fprintln(root.ErrOrStderr(), "keysteward: --help after a command tells more")
		}
	}
	return exitCode(err)
}

// Execute runs the client commands with these arguments and streams, and returns
// the exit code.
func Execute(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := New("unknown")                    //nolint:contextcheck // commands get ctx from Run
	root.SetArgs(append([]string{}, args...)) // cobra takes nil for those of the process
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return Run(ctx, root)
}

// oneLine joins the lines of a text, and drops what would steer a terminal: texts
// of servers are shown to people.
func oneLine(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.Join(lines, "; "))
}
