package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
)

func (a *app) restoreCommand() *cobra.Command {
	l, cmd := &listing{}, a.restoreFileCommand()
	cmd.AddCommand(l.command(a, "status", "tell what a restored backup holds back, and what is missing until it can be confirmed", noArguments, l.restoreStatus),
		a.confirmRestoreCommand())
	return cmd
}

func (l *listing) restoreStatus(ctx context.Context, cmd *cobra.Command, c *client.Client, _ []string) error {
	r, err := c.Restore(ctx)
	if err != nil {
		return err
	}
	return l.print(cmd.OutOrStdout(), r, func(g *grid) { restoreNotes(g, r) })
}

// restoreNotes tells of a restore in words.
func restoreNotes(g *grid, r wire.Restore) {
	switch {
	case r.Number == 0:
		g.note("no backup was ever restored")
		return
	case !r.Open:
		g.note("restore %d, of the backup of index %d made at %s, was confirmed by %s at %s", r.Number, r.BackupIndex, wallText(r.BackupMade), r.ConfirmedBy, wallText(r.ConfirmedAt))
	default:
		g.note("RESTORED AND NOT CONFIRMED: %s brought the backup of index %d made at %s back at %s (restore %d)", r.By, r.BackupIndex, wallText(r.BackupMade), wallText(r.At), r.Number)
		g.note("until it is confirmed no key changes its holder, no deposit is signed, and no logical cloud is touched")
		for _, m := range r.Missing {
			g.note("missing: %s", m.Detail)
		}
		if len(r.Missing) == 0 {
			g.note("nothing has to be found out any more: stop every validator that runs with a key of this cluster, but for those in the pods that keysteward assignments shows, and run keysteward restore confirm --validators-stopped")
		}
		g.note("%s outside of an allocation until then", restingKeys(r.RestingKeys))
	}
	if r.AdoptedKeys > 0 {
		g.note("%s that the backup does not know or have paid: once their validators are stopped, keysteward keys confirm-stopped --all-adopted", adoptedKeys(r.AdoptedKeys))
	}
	if r.SuspendedTokens > 0 {
		g.note("%s until keysteward tokens confirm: what was revoked after the backup is not known", suspendedTokens(r.SuspendedTokens))
	}
}

func restingKeys(n int) string {
	if n == 1 {
		return "1 key rests"
	}
	return fmt.Sprintf("%d keys rest", n)
}

func adoptedKeys(n int) string {
	if n == 1 {
		return "1 key was found on the chain with a deposit"
	}
	return fmt.Sprintf("%d keys were found on the chain with deposits", n)
}

func suspendedTokens(n int) string {
	if n == 1 {
		return "1 token lets nobody in"
	}
	return fmt.Sprintf("%d tokens let nobody in", n)
}

func wallText(t time.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	return t.UTC().Format(time.RFC3339)
}

// confirmRestore holds the flags of restore confirm.
type confirmRestore struct {
	connection

	validatorsStopped, noDeposits bool
	number                        int64
}

func (a *app) confirmRestoreCommand() *cobra.Command {
	f := &confirmRestore{}
	cmd := &cobra.Command{
		Use:   "confirm --validators-stopped",
		Short: "end what a restored backup holds back",
		Long: `A restored cluster does not know what happened after the backup was made: a key
that is free in it may be with a pod. So it hands out no key, signs no deposit and
touches no logical cloud until you confirm the restore.

--validators-stopped is your word that no validator runs with a key of this cluster,
but for those in the pods that keysteward assignments shows, with the keys that it
shows for them. Stop all others first, and make sure that nothing starts them again:
a key that signs in two places is slashed.

The cluster finds out by itself which deposits were made after the backup and which
nonces were used; while that is missing, nothing changes and the command says what
is. Keys that rest because of the restore are free after the usual wait. Allocations
go on resting: the same pod gets its keys back by asking, any other needs proof as
always. Keys that were found on the chain with a deposit rest until keysteward keys
confirm-stopped --all-adopted, suspended tokens until keysteward tokens confirm.

` + exitHelp,
		Args: noArguments,
		RunE: f.with(a, f.run),
	}
	f.addTo(cmd, defaultTimeout)
	cmd.Flags().BoolVar(&f.validatorsStopped, "validators-stopped", false, "no validator runs with a key of this cluster, but for those in the pods that assignments shows (required)")
	cmd.Flags().BoolVar(&f.noDeposits, "no-deposits-made", false, "nobody ever made a deposit with this cluster's seed, for clusters without an execution client")
	cmd.Flags().Int64Var(&f.number, "number", 0, "only the restore with this number (default: the last one)")
	return cmd
}

func (f *confirmRestore) run(ctx context.Context, cmd *cobra.Command, c *client.Client, _ []string) error {
	if !f.validatorsStopped {
		return usagef("--validators-stopped is required: it is your word that no validator runs with a key of this cluster, but for those in the pods that keysteward assignments shows")
	}
	before, err := c.Restore(ctx)
	if err != nil {
		return err
	}
	told := fmt.Sprintf("restore %d is confirmed; keys that rested because of it are free after the usual wait", before.Number)
	switch {
	case before.Number == 0 || f.number != 0 && f.number != before.Number:
		return fmt.Errorf("there is no restore to confirm: the last one has the number %d", before.Number)
	case !before.Open:
		told = fmt.Sprintf("restore %d was confirmed before, by %s", before.Number, before.ConfirmedBy)
	default:
		if err := c.ConfirmRestore(ctx, before.Number, f.noDeposits); err != nil {
			return err
		}
	}
	if !f.quiet {
		fmt.Fprintln(cmd.OutOrStdout(), oneLine(told))
	}
	return nil
}

// confirmTokens holds the flags of tokens confirm.
type confirmTokens struct{ connection }

func (f *confirmTokens) command(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "confirm ID...",
		Short: "let bearer tokens in again that came with a restored backup",
		Long: `Tokens that come with a restored backup let nobody in, because they may have been
revoked after it was made. This lets them in again, by the IDs that tokens list
shows. Revoke the others. A token of the servers' --token-hashes, a certificate, and
a pod's own token let in as always.

` + exitHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("%s needs the IDs of tokens, as tokens list shows them", called(cmd))
			}
			return nil
		},
		RunE: f.with(a, f.run),
	}
	f.addTo(cmd, defaultTimeout)
	return cmd
}

func (f *confirmTokens) run(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
	for _, id := range args {
		t, err := c.ConfirmToken(ctx, id)
		if err != nil {
			return err
		}
		if !f.quiet {
			fmt.Fprintln(cmd.OutOrStdout(), oneLine(fmt.Sprintf("token %s of %s with the role %s lets its owner in", t.ID, t.Name, t.Role)))
		}
	}
	return nil
}
