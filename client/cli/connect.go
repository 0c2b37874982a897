package cli

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/client"
)

// connection holds the flags that every command about a cluster has.
type connection struct {
	servers   []string
	tokenFile string
	caFile    string
	cert, key string // of the caller
	timeout   time.Duration
	quiet     bool
	verbose   bool
	patient   bool // it tries for ever by default, and says so
}

// addTo declares the flags; timeout is how long the command tries by default, 0 for ever.
func (n *connection) addTo(cmd *cobra.Command, timeout time.Duration) {
	n.patient = timeout == 0
	flags := cmd.Flags()
	flags.StringSliceVar(&n.servers, "server", nil, "URLs of members, separated by commas; the other members are found through them")
	flags.StringVar(&n.tokenFile, "token-file", "", "file with the bearer token")
	flags.StringVar(&n.caFile, "ca-file", "", "PEM file with the authorities that vouch for the servers (default: the system's)")
	flags.StringVar(&n.cert, "client-cert", "", "PEM file with the caller's certificate, in place of a token (needs --client-key)")
	flags.StringVar(&n.key, "client-key", "", "PEM file with the private key of --client-cert")
	flags.DurationVar(&n.timeout, "timeout", timeout, "give up after this time; 0 means never")
	flags.BoolVarP(&n.quiet, "quiet", "q", false, "tell errors only")
	flags.BoolVarP(&n.verbose, "verbose", "v", false, "tell about every try")
	_ = cmd.MarkFlagFilename("token-file")
	_ = cmd.MarkFlagFilename("ca-file")
	_ = cmd.MarkFlagFilename("client-cert")
	_ = cmd.MarkFlagFilename("client-key")
}

// open checks the flags and returns a client, which the caller closes. Nobody is
// asked yet.
func (n *connection) open(cmd *cobra.Command, version string) (*client.Client, error) {
	if len(n.servers) == 0 {
		return nil, usagef("--server is required (or the environment variable %s)", EnvName("server"))
	}
	if n.timeout < 0 {
		return nil, usagef("--timeout %s is negative", n.timeout)
	}
	if (n.cert == "") != (n.key == "") {
		return nil, usagef("--client-cert and --client-key go together")
	}
	if n.tokenFile != "" { // told now rather than after keys were prepared for
		if _, err := client.ReadToken(n.tokenFile); err != nil {
			return nil, err
		}
	}
	return client.New(client.Config{
		Servers: n.servers, TokenFile: n.tokenFile, CAFile: n.caFile, CertFile: n.cert, KeyFile: n.key,
		RetryFor: -1, // --timeout decides
		Logger:   n.logger(cmd), UserAgent: "keysteward/" + version, Trouble: n.trouble(cmd),
	})
}

// trouble says on standard error what a command waits for that may wait for ever, once
// until it is something else.
func (n *connection) trouble(cmd *cobra.Command) func(error) {
	if !n.patient || n.quiet {
		return nil
	}
	var mu sync.Mutex
	line := newWaiting(cmd.ErrOrStderr(), false, n.quiet)
	return func(err error) {
		mu.Lock()
		defer mu.Unlock()
		line.tell(fmt.Sprintf("waiting for an answer of %s, trying again: %v", strings.Join(n.servers, ", "), err))
	}
}

func (n *connection) logger(cmd *cobra.Command) *slog.Logger {
	if !n.verbose {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// limit bounds a context by --timeout.
func (n *connection) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if n.timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, n.timeout)
}

// defaultTimeout outlives an election.
const defaultTimeout = 30 * time.Second

// with is the body of most commands: a client, and a context that --timeout bounds.
func (n *connection) with(a *app, work func(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := n.open(cmd, a.version)
		if err != nil {
			return err
		}
		defer c.Close()
		ctx, cancel := n.limit(cmd.Context())
		defer cancel()
		return work(ctx, cmd, c, args)
	}
}
