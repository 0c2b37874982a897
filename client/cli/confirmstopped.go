package cli

import (
	"context"
	"fmt"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// confirming holds the flags of keys confirm-stopped.
type confirming struct {
	connection

	allImported, allAdopted bool
}

// atOnce is how many keys are confirmed at once; the leader logs them together.
const atOnce = 16

func (a *app) confirmStoppedCommand() *cobra.Command {
	f := &confirming{}
	cmd := &cobra.Command{
		Use:   "confirm-stopped (PUBLICKEY… | --all-imported | --all-adopted)",
		Short: "end the rest of imported and adopted keys: no validator elsewhere has them any more",
		Long: `Imported keys, and keys of the seed that were found with a deposit (adopted), rest
until somebody knows that the validators which had them are
stopped for good and their keystores deleted. This is your word for it; it is
recorded. After the usual wait the keys are free to be handed out. A key that signs
in two places is slashed: make sure first.

--all-imported means the keys that rest since an import when the command starts,
--all-adopted those that rest since they were found.
Keys that rest with a pod are for keysteward release --confirm-stopped.

` + exitHelp,
	}
	cmd.RunE = f.with(a, func(ctx context.Context, cmd *cobra.Command, c *client.Client, args []string) error {
		return f.run(ctx, cmd, a, c, args)
	})
	f.addTo(cmd, defaultTimeout)
	cmd.Flags().BoolVar(&f.allImported, "all-imported", false, "all keys that rest since an import")
	cmd.Flags().BoolVar(&f.allAdopted, "all-adopted", false, "all keys that rest since they were found with a deposit")
	return cmd
}

func (f *confirming) run(ctx context.Context, cmd *cobra.Command, a *app, c *client.Client, args []string) error {
	if (f.allImported || f.allAdopted) == (len(args) > 0) {
		return usagef("give public keys, or --all-imported, --all-adopted")
	}
	keys, err := f.keys(ctx, c, args)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		if !f.quiet {
			fmt.Fprintln(cmd.OutOrStdout(), "nothing to do: no key rests since an import or since it was found")
		}
		return nil
	}
	m := a.meter(cmd.ErrOrStderr(), f.quiet)
	defer m.close()
	done, err := confirmAll(ctx, c, keys, func(done int) { m.show("keys confirmed", done, len(keys)) })
	m.close()
	if err != nil {
		return fmt.Errorf("confirmed %d of %s: %w", done, plural(len(keys), "key"), err)
	}
	if !f.quiet {
		fmt.Fprintf(cmd.OutOrStdout(), "%s: stopped elsewhere, by your word; free once the wait after it is over\n", plural(len(keys), "key"))
	}
	return nil
}

// means reports whether one of the flags for all keys is about this one.
func (f *confirming) means(key wire.Key) bool {
	return key.Holder.Pod == "" && (f.allImported && key.Imported || f.allAdopted && isAdopted(key))
}

// keys are those that are meant, as the cluster knows them now.
func (f *confirming) keys(ctx context.Context, c *client.Client, args []string) ([]wire.Key, error) {
	var keys []wire.Key
	if f.allImported || f.allAdopted {
		for key, err := range c.Keys(ctx, wire.KeyStateResting) {
			if err != nil {
				return nil, err
			}
			if f.means(key) {
				keys = append(keys, key)
			}
		}
		return keys, nil
	}
	wanted := make([]validator.PublicKey, len(args))
	for i, arg := range args {
		var err error
		if wanted[i], err = validator.ParsePublicKey(arg); err != nil {
			return nil, usageError{err}
		}
	}
	for _, pubkey := range wanted {
		key, err := c.Key(ctx, pubkey)
		if err != nil {
			return nil, err
		}
		switch {
		case !key.Imported && !isAdopted(key):
			return nil, fmt.Errorf("key %s was neither imported nor adopted", pubkey)
		case key.Holder.Pod != "":
			return nil, fmt.Errorf("key %s is %s with pod %s: see keysteward release --confirm-stopped", pubkey, key.State, holder(key))
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// confirmAll confirms several keys at once and returns how many it did.
func confirmAll(ctx context.Context, c *client.Client, keys []wire.Key, progress func(done int)) (int, error) {
	var mu sync.Mutex
	done := 0
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(atOnce)
	for _, key := range keys {
		work.Go(func() error {
			pubkey, err := validator.ParsePublicKey(key.Pubkey)
			if err != nil {
				return fmt.Errorf("%w: %w", client.ErrAnswer, err)
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := c.ConfirmStopped(ctx, pubkey, key.Fence); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			done++
			progress(done)
			return nil
		})
	}
	err := work.Wait()
	return done, err
}
