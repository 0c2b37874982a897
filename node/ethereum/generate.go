package ethereum

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

const (
	// generateChunk is how many keys one command hands in.
	generateChunk = 256
	// generatePass is how many keys one pass derives: more would keep deposits waiting.
	generatePass = 1024
)

// lacking is how many keys are to be made, for requests and for the pool.
func lacking(view *fsm.View) int { return view.Shortfall() + view.SpareShortfall() }

// wantSpares makes the number of spare keys that this leader was given the
// cluster's. Without a chain, or with deposits off, none are planned.
func (p *pass) wantSpares(ctx context.Context) error {
	want := uint32(p.duty.cfg.SpareKeys) //nolint:gosec // checked against fsm.MaxSpareKeys
	if p.duty.cfg.Off || !p.duty.cfg.configured() {
		want = 0
	}
	if p.session.View().DepositStatus().GetSpareKeys() == want {
		return nil
	}
	_, err := p.session.Propose(ctx, &fsmpb.Command{Body: &fsmpb.Command_SetSpareKeys{SetSpareKeys: &fsmpb.SetSpareKeys{Keys: want}}})
	if err != nil {
		return fmt.Errorf("want %d spare keys: %w", want, err)
	}
	return nil
}

// generate derives the keys that requests and the pool lack. The command names the index of
// its first key, so one that comes late is refused.
func (p *pass) generate(ctx context.Context) error {
	if p.view.Secret(fsm.SecretSeed) == nil {
		p.wait(seedMissing())
		return nil
	}
	if err := p.wantSpares(ctx); err != nil || lacking(p.session.View()) == 0 || p.duty.cfg.Off || p.session.View().RestoreOpen() {
		return err
	}
	if p.duty.cfg.configured() && !p.searched(p.session.View(), nil) {
		return nil // searchSeed comes back to it
	}
	seed, err := p.seed(ctx)
	if w := (*waiting)(nil); errors.As(err, &w) {
		p.wait(w)
		return nil
	}
	if err != nil {
		return err
	}
	defer seed.Zero()
	for made := 0; made < generatePass; {
		view := p.session.View()
		n := min(lacking(view), generateChunk)
		if n == 0 {
			return nil
		}
		first := view.Meta().GetNextIndex()
		pubkeys, err := publicKeys(ctx, seed, first, n)
		if err != nil {
			return err
		}
		if _, err := p.session.Propose(ctx, &fsmpb.Command{Body: &fsmpb.Command_GenerateKeys{
			GenerateKeys: &fsmpb.GenerateKeys{FirstIndex: first, Pubkeys: pubkeys},
		}}); err != nil {
			return fmt.Errorf("hand in %d keys from index %d on: %w", n, first, err)
		}
		made += n
	}
	return nil
}

// seed opens the seed, which the caller clears.
func (p *pass) seed(ctx context.Context) (*validator.Seed, error) {
	seed, err := p.duty.seeds.Seed(ctx)
	switch {
	case errors.Is(err, ErrNoSeed):
		return nil, seedMissing()
	case errors.Is(err, ErrSealed):
		return nil, waitFor(Sealed, "the leader is sealed: it can not open the seed to derive keys from")
	case err != nil:
		return nil, fmt.Errorf("open the seed: %w", err)
	}
	return seed, nil
}

func seedMissing() *waiting {
	return waitFor(SeedMissing, "the cluster has no seed to derive keys from: run keysteward init")
}

// publicKeys derives the signing keys of n indexes, on all cores.
func publicKeys(ctx context.Context, seed *validator.Seed, first uint64, n int) ([][]byte, error) {
	pubkeys := make([][]byte, n)
	err := onAllCores(ctx, n, func(i int) error {
		key, err := seed.SigningKey(first + uint64(i)) //nolint:gosec // i is an index of a slice
		if err != nil {
			return fmt.Errorf("derive key %d: %w", first+uint64(i), err) //nolint:gosec // as above
		}
		defer key.Zero()
		pubkey := key.PublicKey()
		pubkeys[i] = pubkey[:]
		return nil
	})
	return pubkeys, err
}

// onAllCores calls do for 0 to n-1 and returns the first error.
func onAllCores(ctx context.Context, n int, do func(i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range n {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("derive keys: %w", err)
			}
			return do(i)
		})
	}
	return group.Wait() //nolint:wrapcheck // the errors are our own
}
