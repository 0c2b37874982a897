package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/keysteward/keysteward/client/keystore"
)

// checking holds the flags of keys check.
type checking struct {
	keys  int
	every time.Duration
}

func (a *app) checkKeysCommand() *cobra.Command {
	f := &checking{}
	cmd := &cobra.Command{
		Use:   "check DIR",
		Short: "open all keystores of a folder, as a validator would",
		Long: `Decrypts every EIP-2335 keystore in a folder and below it with the password file
that lies beside it, and prints the public keys. Nothing is written, and no server
is asked. It fails if one does not open, if one is damaged, or if there is none.

With --every it goes on, and ends with exit code 1 once a keystore does not open or
there are other keys than at first, with 0 when it is told to end. So it can stand for a
validator where pods are tried.`,
		Example: "  keysteward keys check /keys --keys 4 --every 10s",
		Args:    oneArgument("folder"),
		RunE:    func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	cmd.Flags().IntVar(&f.keys, "keys", 0, "how many keys there have to be (0: at least one)")
	cmd.Flags().DurationVar(&f.every, "every", 0, "look again after this time, until told to end (0: look once)")
	return cmd
}

func (f *checking) run(cmd *cobra.Command, dir string) error {
	if f.keys < 0 || f.every < 0 {
		return usagef("--keys %d, --every %s: want 0 or more", f.keys, f.every)
	}
	first, err := f.open(cmd.Context(), dir)
	if err != nil {
		return err
	}
	for _, key := range first {
		fmt.Fprintln(cmd.OutOrStdout(), key)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s in %s can be opened\n", plural(len(first), "keystore"), dir)
	for f.every > 0 {
		select {
		case <-cmd.Context().Done():
			return nil // it was told to end
		case <-time.After(f.every):
		}
		now, err := f.open(cmd.Context(), dir)
		if cmd.Context().Err() != nil {
			return nil //nolint:nilerr // it was told to end
		}
		if err != nil {
			return err
		}
		if !slices.Equal(first, now) {
			return fmt.Errorf("there are other keys in %s than before: %s, now %s", dir, plural(len(first), "key"), plural(len(now), "key"))
		}
	}
	return nil
}

// open returns the public keys of all keystores, in their order.
func (f *checking) open(ctx context.Context, dir string) ([]string, error) {
	found, skipped, err := keystore.Search(dir)
	if err != nil {
		return nil, err
	}
	var failures []error
	for _, s := range skipped {
		if s.Damaged {
			failures = append(failures, fmt.Errorf("%s: %s", s.File, s.Reason))
		}
	}
	opened, err := keystore.OpenAll(ctx, found, keystore.Password{}, keystore.Options{})
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, o := range opened {
		if o.Err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", o.File, o.Err))
		}
		for _, k := range o.Keys {
			keys = append(keys, k.Secret.PublicKey().String())
			k.Secret.Zero()
		}
	}
	slices.Sort(keys)
	switch {
	case len(failures) > 0:
		return nil, errors.Join(failures...)
	case len(keys) == 0:
		return nil, fmt.Errorf("there is no keystore (*.json) in %s", dir)
	case f.keys > 0 && len(keys) != f.keys:
		return nil, fmt.Errorf("there are %s in %s, not %d", plural(len(keys), "key"), dir, f.keys)
	}
	return keys, nil
}
