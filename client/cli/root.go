package cli

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// app is what commands need of the process; tests have their own.
type app struct {
	version   string
	lookupEnv func(name string) (string, bool)
	terminal  func(w io.Writer) bool
	random    io.Reader
	now       func() time.Time
	command   func() string // how kubectl calls this program
}

// New returns the keysteward command with all client commands. Version is what
// `keysteward version` tells. Commands that main adds get their flags bound to the
// environment too, unless they have a PersistentPreRunE of their own, which then
// calls BindEnv.
func New(version string) *cobra.Command {
	return (&app{version: version, lookupEnv: os.LookupEnv, terminal: isTerminal, random: rand.Reader, now: time.Now, command: ownCommand}).root()
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "keysteward",
		Short: "hand out keys and certificates, and never one twice",
		Long: `Keysteward hands out Ethereum validator keys to pods, pays their deposits, and
never gives one key to two holders. It also gives the users of logical clouds over
several Kubernetes clusters their certificates and kubeconfigs.

Every flag is also an environment variable: --token-file is KEYSTEWARD_TOKEN_FILE.
A flag goes before its variable, the variable before the default.

` + exitHelp,
		SilenceUsage:      true,
		SilenceErrors:     true,
		Args:              subcommandOnly,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return bindEnv(cmd, a.lookupEnv) },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		a.allocateCommand(), a.holdCommand(), a.releaseCommand(), a.assignmentsCommand(), a.keysCommand(), a.depositsCommand(),
		a.cloudsCommand(), a.kubeconfigCommand(), a.credentialCommand(), a.clusterCommand(), a.sealCommand(), a.tokensCommand(), a.backupCommand(), a.restoreCommand(), a.auditCommand(), a.initCommand(), a.depositDataCommand(), a.tlsCommand(), a.versionCommand(),
	)
	return root
}

// subcommandOnly refuses arguments of a command that only has subcommands.
func subcommandOnly(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("%w: did you mean %s?", err, near[0])
	}
	return usageError{err}
}

// group is a command that only has subcommands.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use: use, Short: short, Args: subcommandOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usagef("%q needs a subcommand", cmd.CommandPath())
		},
	}
	g.AddCommand(commands...)
	return g
}

// requireFlags refuses a command of which one of these flags was not given.
func requireFlags(cmd *cobra.Command, flags ...string) error {
	for _, name := range flags {
		if flag := cmd.Flags().Lookup(name); flag.Value.String() == flag.DefValue && !flag.Changed {
			return usagef("--%s is required (or the environment variable %s)", name, EnvName(name))
		}
	}
	return nil
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "tell the version",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprintf(cmd.OutOrStdout(), "keysteward %s %s %s/%s\n", a.version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}

// isTerminal tells whether a person watches.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
