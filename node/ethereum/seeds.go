package ethereum

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/ethereum/validator"
	"github.com/keysteward/keysteward/node/seal"
)

// Vault gives the keyring that opens the secrets of a state.
type Vault interface {
	// Keyring opens the secrets of this state; its error says why it can not.
	Keyring(view *fsm.View) (*seal.Keyring, error)
	// Usable reports whether secrets of this state can be opened, or why not.
	Usable(view *fsm.View) (reason string, ok bool)
}

// Cluster is what Seeds needs of the node.
type Cluster interface {
	// View returns the applied state.
	View() *fsm.View
	// Propose has the command agreed on and applied, see [node.Node.Propose].
	Propose(ctx context.Context, cmd *fsmpb.Command) (any, error)
}

// Seeds opens the cluster's seed on an unsealed node and derives secrets from
// it. It keeps the opened seed in memory, which makes deriving quick.
type Seeds struct {
	vault Vault
	node  Cluster

	mu     sync.Mutex
	record []byte // that seed was opened from
	seed   *validator.Seed
}

// NewSeeds returns the seeds of the node's cluster.
func NewSeeds(vault Vault, n Cluster) *Seeds { return &Seeds{vault: vault, node: n} }

// Seed implements SeedSource: the seed returned is the caller's own copy.
func (s *Seeds) Seed(context.Context) (*validator.Seed, error) {
	shared, err := s.open()
	if err != nil {
		return nil, err
	}
	plain := shared.Bytes()
	defer clear(plain)
	seed, err := validator.SeedFromBytes(plain)
	if err != nil {
		return nil, fmt.Errorf("open seed: %w", err)
	}
	return seed, nil
}

// open returns the seed that all callers share, and that is never zeroed.
func (s *Seeds) open() (*validator.Seed, error) {
	view := s.node.View()
	record := view.Secret(fsm.SecretSeed).GetSealed()
	if record == nil {
		return nil, ErrNoSeed
	}
	ring, err := s.vault.Keyring(view)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSealed, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seed != nil && bytes.Equal(record, s.record) {
		return s.seed, nil
	}
	plain, err := ring.Open(seal.KindSeed, seal.SeedID, record)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSealed, err)
	}
	defer clear(plain)
	seed, err := validator.SeedFromBytes(plain)
	if err != nil {
		return nil, fmt.Errorf("open seed: %w", err)
	}
	s.record, s.seed = record, seed
	return seed, nil
}

// SigningKeys derives the signing keys of these indexes (EIP-2334). The caller
// zeroes them.
func (s *Seeds) SigningKeys(ctx context.Context, indexes []uint64) ([]*validator.SecretKey, error) {
	seed, err := s.open()
	if err != nil {
		return nil, err
	}
	keys := make([]*validator.SecretKey, len(indexes))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, index := range indexes {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("derive keys: %w", err)
			}
			var err error
			keys[i], err = seed.SigningKey(index)
			return err //nolint:wrapcheck // names the index
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("derive keys: %w", err)
	}
	return keys, nil
}

// InstallSeed seals the seed and gives it to the cluster. The same seed again
// changes nothing; another one is refused with [fsm.SeedExists].
func (s *Seeds) InstallSeed(ctx context.Context, seed *validator.Seed, caller *fsmpb.Caller, requestID string) error {
	plain := seed.Bytes()
	defer clear(plain)
	_, err := s.proposeSealed(ctx, func(ring *seal.Keyring) (*fsmpb.Command, error) {
		sealed, err := ring.Seal(seal.KindSeed, seal.SeedID, plain)
		return &fsmpb.Command{
			Caller: caller, RequestId: requestID,
			Body: &fsmpb.Command_InstallSeed{InstallSeed: &fsmpb.InstallSeed{
				Sealed: sealed, Fingerprint: seed.Fingerprint(),
			}},
		}, err
	})
	if err != nil {
		return fmt.Errorf("install seed: %w", err)
	}
	return nil
}

// proposeSealed proposes a command with ciphertexts that build seals.
func (s *Seeds) proposeSealed(ctx context.Context, build func(*seal.Keyring) (*fsmpb.Command, error)) (any, error) {
	value, err := seal.ProposeSealed(ctx, s.vault, s.node, build)
	if errors.Is(err, node.ErrSealed) {
		err = fmt.Errorf("%w: %w", ErrSealed, err)
	}
	return value, err //nolint:wrapcheck // the caller says what it was about
}

// Sealed reports whether this node can not open secrets, and why.
func (s *Seeds) Sealed() (reason string, sealed bool) {
	reason, ok := s.vault.Usable(s.node.View())
	return reason, !ok
}
