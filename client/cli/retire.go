package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// retire holds the flags of keys retire.
type retire struct {
	connection

	reason string
	force  bool
}

func (a *app) retireCommand() *cobra.Command {
	f := &retire{}
	cmd := &cobra.Command{
		Use:   "retire PUBLICKEY --reason WORDS",
		Short: "take a key out of use for good",
		Long: `Takes a key out of use for good: it is never handed out again, and this can not
be undone. Keys of validators that exited, were slashed or withdrawn are retired
by themselves where the servers know a beacon node.

What it does not do: exit the validator. A stake that was paid stays where it is,
and a validator that nobody runs any more loses a little with every epoch. Exit it
first, with the secret key, which the mnemonic gives back at any time.

A key that is in use is refused. With --force
  - a key that is held leaves its pod's allocation. The pod goes on signing with it
    until it is stopped. When it asks for its keys again its keystore is removed,
    and it gets another instead, for which a deposit may be paid.
  - a key that rests is not known to be out of use: do not run it elsewhere.
  - a deposit that is on its way goes on, for a validator that nobody will run.

` + exitHelp,
		Args: oneArgument("public key"),
		RunE: f.with(a, f.run),
	}
	f.addTo(cmd, defaultTimeout)
	flags := cmd.Flags()
	flags.StringVar(&f.reason, "reason", "", "why, in words; kept with the key and in the audit log (required)")
	flags.BoolVar(&f.force, "force", false, "retire the key although it is held, rests, or has a deposit on its way")
	return cmd
}

func (f *retire) run(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
	if err := requireFlags(cmd, "reason"); err != nil {
		return err
	}
	if strings.TrimSpace(f.reason) == "" {
		return usagef("--reason is empty")
	}
	pubkey, err := validator.ParsePublicKey(args[0])
	if err != nil {
		return usageError{err}
	}
	key, err := c.RetireKey(ctx, pubkey, f.reason, f.force)
	if client.IsType(err, client.TypeKeyInUse) {
		return fmt.Errorf("%w; --help says what --force would do", err)
	}
	if err != nil || f.quiet {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout(), oneLine(fmt.Sprintf("%s is retired (%s)", key.Pubkey, retirement(key.RetiredReason, key.RetiredDetail))))
	return nil
}

// retirement is why a key is retired, in one line; it is empty while it is not.
func retirement(reason, detail string) string {
	if detail == "" {
		return reason
	}
	return reason + ": " + detail
}
