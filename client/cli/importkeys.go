package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/client/keystore"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// importing holds the flags of keys import.
type importing struct {
	connection
	output

	passwordFile string
	dryRun       bool
}

// Results of keys import, beside those of the API.
const (
	resultWould     = "would be imported"
	resultOwn       = "own key" // known, and derived from the cluster's seed
	resultDuplicate = "duplicate"
	resultRefused   = "refused"
	resultSkipped   = "skipped"
	resultUnknown   = "not known"
)

// importRow says what became of a key, or of a file.
type importRow struct {
	Pubkey string `json:"pubkey,omitempty"`
	Result string `json:"result"`
	File   string `json:"file"`
	Reason string `json:"reason,omitempty"`
}

// importReport is what keys import prints.
type importReport struct {
	Keys   []importRow    `json:"keys"`
	Counts map[string]int `json:"counts"`
}

func (a *app) importCommand() *cobra.Command {
	f := &importing{}
	cmd := &cobra.Command{
		Use:   "import DIR",
		Short: "bring keys of validators that run elsewhere",
		Long: `Decrypts the EIP-2335 keystores in a folder and below it, and gives the keys to the
cluster, sealed to its leader. Each keystore is opened with the password file that
lies beside it in one of the known layouts (lighthouse, lodestar, nimbus, teku,
prysm), or all of them with --password-file.

The public key is derived from the secret; a file that names another one is refused.
A key that the cluster knows stays as it is, so the command may be repeated.

The keys rest: a validator elsewhere may still sign with them, and a key that signs
in two places is slashed. Stop those validators for good, delete their keystores,
and only then say so with keysteward keys confirm-stopped. No deposit is made.

` + exitHelp,
		Args: oneArgument("folder"),
		RunE: f.checked(func(cmd *cobra.Command, args []string) error { return f.run(cmd, a, args[0]) }),
	}
	f.connection.addTo(cmd, defaultTimeout)
	f.output.addTo(cmd)
	cmd.Flags().StringVar(&f.passwordFile, "password-file", "", "file with the password of all keystores (default: each has its own beside it)")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "decrypt and compare, and import nothing")
	_ = cmd.MarkFlagFilename("password-file")
	return cmd
}

func (f *importing) run(cmd *cobra.Command, a *app, dir string) error {
	password, err := f.password()
	if err != nil {
		return err
	}
	defer password.Zero()
	found, skipped, err := keystore.Search(dir)
	if err != nil {
		return err
	}
	if len(found) == 0 && len(skipped) == 0 {
		return fmt.Errorf("there is no keystore (*.json) in %s", dir)
	}
	c, err := f.open(cmd, a.version)
	if err != nil {
		return err
	}
	defer c.Close()
	known, err := f.known(cmd.Context(), c)
	if err != nil {
		return err
	}
	m := a.meter(cmd.ErrOrStderr(), f.quiet)
	defer m.close()
	opened, err := keystore.OpenAll(cmd.Context(), found, password, keystore.Options{
		Progress: func(done int) { m.show("keystores decrypted", done, len(found)) },
	})
	if err != nil {
		return err
	}
	batch := newImportBatch(opened, skipped, known)
	defer batch.zero()
	if !f.dryRun {
		err = f.bring(cmd.Context(), c, batch, m)
	}
	m.close()
	return errors.Join(f.report(cmd, batch), err, batch.refusal())
}

// password is the zero value without --password-file.
func (f *importing) password() (keystore.Password, error) {
	if f.passwordFile == "" {
		return keystore.Password{}, nil
	}
	raw, err := readSecretFile(f.passwordFile)
	if err != nil {
		return keystore.Password{}, fmt.Errorf("read --password-file: %w", err)
	}
	defer clear(raw)
	password, err := keystore.NewPassword(raw)
	if err != nil {
		return password, fmt.Errorf("--password-file %s: %w", f.passwordFile, err)
	}
	return password, nil
}

// known asks for what an import needs, before a minute is spent on decrypting: that
// the leader would take keys from this caller, and the keys that the cluster has.
func (f *importing) known(ctx context.Context, c *client.Client) (map[validator.PublicKey]wire.Key, error) {
	ctx, cancel := f.limit(ctx)
	defer cancel()
	if _, err := c.Seed(ctx); err != nil {
		return nil, err
	}
	return c.AllKeys(ctx)
}

// bring imports the keys of a batch and notes what became of each.
func (f *importing) bring(ctx context.Context, c *client.Client, batch *importBatch, m *meter) error {
	ctx, cancel := f.limit(ctx)
	defer cancel()
	results, err := c.ImportKeys(ctx, batch.secrets, func(done int) { m.show("keys imported", done, len(batch.secrets)) })
	batch.note(results)
	return err
}

func (f *importing) report(cmd *cobra.Command, batch *importBatch) error {
	report := importReport{Keys: batch.rows, Counts: map[string]int{}}
	for _, row := range batch.rows {
		report.Counts[row.Result]++
	}
	return f.print(cmd.OutOrStdout(), report, func(g *grid) {
		g.row("PUBLIC KEY", "RESULT", "FILE", "REASON")
		for _, row := range report.Keys {
			g.row(row.Pubkey, row.Result, row.File, row.Reason)
		}
		inAll := map[string]int64{}
		for result, n := range report.Counts {
			inAll[result] = int64(n)
		}
		g.note("in all: %s", counts(inAll, []string{
			string(wire.ImportResultImported), resultWould, string(wire.ImportResultKnown), resultOwn, resultDuplicate, resultRefused, resultSkipped, resultUnknown,
		}))
		if report.Counts[string(wire.ImportResultImported)] > 0 {
			g.note("imported keys rest until: keysteward keys confirm-stopped PUBLICKEY… (or --all-imported)")
		}
	})
}
