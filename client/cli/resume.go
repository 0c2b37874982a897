package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// stoppedCode is the reason that deposits resume ends; all others end by themselves.
const stoppedCode = "stopped"

// resume holds the flags of deposits resume.
type resume struct {
	connection

	account string
}

func (a *app) resumeCommand() *cobra.Command {
	f := &resume{}
	cmd := &cobra.Command{
		Use:   "resume",
		Short: "let deposits go on although something else used the funding account",
		Long: `Lets deposits go on that were stopped because something else than Keysteward used
the funding account. Nonces that are lost to its transactions are given up once
those are final; what happens after this command stops deposits again.

Find out first who else has the account's key. If it was stolen, do not resume that
account: move the money, and give Keysteward another one (--funding-keystore).

` + exitHelp,
		Args: noArguments,
		RunE: f.with(a, f.run),
	}
	f.addTo(cmd, defaultTimeout)
	cmd.Flags().StringVar(&f.account, "account", "", "only this funding account (default: all that are stopped)")
	return cmd
}

func (f *resume) run(ctx context.Context, cmd *cobra.Command, c *client.Client, _ []string) error {
	if f.account != "" {
		if _, err := validator.ParseAddress(f.account); err != nil {
			return usagef("--account: %w", err)
		}
	}
	before, err := c.DepositPage(ctx, "", "")
	if err != nil {
		return err
	}
	var told []string
	for _, account := range before.Accounts {
		if account.Stop.Reason == "" || f.account != "" && !strings.EqualFold(f.account, account.Address) {
			continue
		}
		if err := c.ResumeDeposits(ctx, account); err != nil {
			return err
		}
		told = append(told, "deposits go on; they were stopped because: "+account.Stop.Reason)
	}
	if why := before.Waiting; why.Code != "" && why.Code != stoppedCode {
		told = append(told, fmt.Sprintf("deposits wait for another reason, %s, which ends by itself: %s", why.Code, why.Detail))
	}
	if len(told) == 0 {
		told = []string{"deposits were not stopped"}
	}
	if f.quiet {
		return nil
	}
	for _, line := range told {
		fmt.Fprintln(cmd.OutOrStdout(), oneLine(line))
	}
	return nil
}
