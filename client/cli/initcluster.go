package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// initialisation holds the flags of init.
type initialisation struct {
	connection
	mnemonicFlags

	out string
	yes bool
}

func (a *app) initCommand() *cobra.Command {
	f := &initialisation{}
	cmd := &cobra.Command{
		Use:   "init",
		Short: "give the cluster the seed of all its keys",
		Long: `Gives a fresh cluster the seed of which all its keys are derived (BIP-39, EIP-2333,
EIP-2334). Without --mnemonic-file 24 words are generated here, shown once, and
asked back in part; the cluster never learns the words, only what is derived of
them, sealed to the leader. Whoever has the words can rebuild every key: write
them on paper and keep that safe.

The same words again change nothing; a cluster that has another seed refuses. Of
words that were used before, the deposits are looked for first: keys that have one
rest, and are never paid for again. One cluster at a time may use the words: an old
one must be stopped for good before, with no deposit under way.

` + exitHelp,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, a) },
	}
	f.connection.addTo(cmd, defaultTimeout)
	f.mnemonicFlags.addTo(cmd, "file with the words (default: 24 words are generated)")
	cmd.Flags().StringVar(&f.out, "mnemonic-out", "", "write the generated words to this new file, of mode 0600, instead of showing them")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do not ask the generated words back")
	_ = cmd.MarkFlagFilename("mnemonic-out")
	return cmd
}

// usedBefore tells what becomes of words that are not new.
const usedBefore = `Deposits that were made with these words before are looked for first, until 20
indexes in a row have none; until that is done no key is generated. Keys that are
found rest, because a validator may be running with them, and are not paid for again:
see keysteward keys list --state resting, and keysteward keys confirm-stopped
`

func (f *initialisation) run(cmd *cobra.Command, a *app) error {
	if f.file != "" && f.out != "" {
		return usagef("--mnemonic-out is for generated words, and --mnemonic-file brings some: give one of them")
	}
	if f.file == "" && f.out == "" && !a.terminal(cmd.ErrOrStderr()) {
		return usagef("the generated words are shown on a terminal, and this is none: use --mnemonic-out, or --mnemonic-file")
	}
	c, err := f.open(cmd, a.version)
	if err != nil {
		return err
	}
	defer c.Close()
	status, err := f.status(cmd.Context(), c)
	if err != nil {
		return err
	}
	if status.Installed && f.file == "" {
		return fmt.Errorf("the cluster has a seed already, with the fingerprint %s; to compare words with it give --mnemonic-file", status.Fingerprint)
	}
	seed, err := f.seed(cmd, a)
	if err != nil {
		return err
	}
	defer seed.Zero()
	return f.install(cmd, c, status, seed)
}

func (f *initialisation) status(ctx context.Context, c *client.Client) (wire.SeedStatus, error) {
	ctx, cancel := f.limit(ctx)
	defer cancel()
	return c.Seed(ctx)
}

// seed reads the words, or generates them and makes sure that they are kept.
func (f *initialisation) seed(cmd *cobra.Command, a *app) (*validator.Seed, error) {
	passphrase, err := f.passphrase()
	if err != nil {
		return nil, err
	}
	if f.file != "" {
		mnemonic, err := f.mnemonic()
		if err != nil {
			return nil, err
		}
		return mnemonic.Seed(passphrase), nil
	}
	var entropy [32]byte
	defer clear(entropy[:])
	if _, err := io.ReadFull(a.random, entropy[:]); err != nil {
		return nil, fmt.Errorf("draw randomness: %w", err)
	}
	mnemonic, err := validator.NewMnemonic(entropy)
	if err != nil {
		return nil, err
	}
	if f.out != "" {
		if err := writeNew(f.out, []byte(mnemonic.Reveal()+"\n"), 0o600); err != nil {
			return nil, fmt.Errorf("write --mnemonic-out: %w", err)
		}
		return mnemonic.Seed(passphrase), nil
	}
	return mnemonic.Seed(passphrase), a.confirmWords(cmd, mnemonic, f.yes)
}

// maxSubmissions bounds how often the leader may change under our hands.
const maxSubmissions = 5

// install submits the seed, sealed to the leader of the moment.
func (f *initialisation) install(cmd *cobra.Command, c *client.Client, status wire.SeedStatus, seed *validator.Seed) error {
	ctx, cancel := f.limit(cmd.Context())
	defer cancel()
	fingerprint := seed.Fingerprint()
	for try := 1; ; try++ {
		if status.Installed {
			return f.compare(cmd, status, fingerprint)
		}
		err := submit(ctx, c, status, seed)
		if err == nil {
			fmt.Fprintf(cmd.OutOrStdout(), "the cluster has its seed, with the fingerprint %s\n", fingerprint)
			if f.file != "" && !f.quiet {
				fmt.Fprint(cmd.OutOrStdout(), usedBefore)
			}
			return nil
		}
		if try == maxSubmissions || !client.IsType(err, client.TypeStaleRecipient) {
			return f.wayOn(err)
		}
		if status, err = c.Seed(ctx); err != nil {
			return f.wayOn(err)
		}
	}
}

// wayOn tells what to do with words that were generated and not installed.
func (f *initialisation) wayOn(err error) error {
	switch {
	case f.file != "":
		return err
	case f.out != "":
		return fmt.Errorf("%w; the words are in %s: repeat with --mnemonic-file %s", err, f.out, f.out)
	default:
		return fmt.Errorf("%w; to use the words that were shown, put them into a file and repeat with --mnemonic-file", err)
	}
}

func (f *initialisation) compare(cmd *cobra.Command, status wire.SeedStatus, fingerprint string) error {
	if !strings.EqualFold(status.Fingerprint, fingerprint) {
		return fmt.Errorf("the cluster has another seed: its fingerprint is %s, that of these words is %s", status.Fingerprint, fingerprint)
	}
	if !f.quiet {
		fmt.Fprintf(cmd.OutOrStdout(), "nothing to do: the cluster has this seed, with the fingerprint %s\n", fingerprint)
	}
	return nil
}

func submit(ctx context.Context, c *client.Client, status wire.SeedStatus, seed *validator.Seed) error {
	if status.ClusterID == "" {
		return errors.New("the cluster is not founded yet")
	}
	plaintext := seed.Bytes()
	defer clear(plaintext)
	sealed, err := status.Recipient.Seal(wire.SeedInfo(status.ClusterID), plaintext)
	if err != nil {
		return fmt.Errorf("seal the seed to the leader: %w", err)
	}
	return c.PutSeed(ctx, wire.SealedSeed{Recipient: status.Recipient, Sealed: sealed})
}
