package seal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
)

// sealTries is how often a command is sealed anew whose data key was given up
// before it was applied.
const sealTries = 5

const sealPause = 100 * time.Millisecond

// Opener gives the keyring that opens and seals the secrets of a state, as [Vault] does.
type Opener interface {
	// Keyring opens the secrets of this state; its error says why it can not.
	Keyring(view *fsm.View) (*Keyring, error)
}

// RestoreOf is what a command has to say that was sealed under, or made of, the keyring
// of this state: the state machine refuses it once a restore has replaced that.
func RestoreOf(view *fsm.View) uint64 { return view.Meta().GetRestore().GetNumber() }

// ProposeSealed proposes a command with ciphertexts, which build seals under the
// data key of the moment, again if that was given up meanwhile, or if a backup was
// restored. Errors wrap [node.ErrSealed] where nothing can be sealed; else they are
// those of build and of the proposal.
func ProposeSealed(ctx context.Context, v Opener, p Proposer, build func(*Keyring) (*fsmpb.Command, error)) (any, error) {
	for tried := 1; ; tried++ {
		view := p.View()
		ring, err := v.Keyring(view)
		if err != nil {
			return nil, err //nolint:wrapcheck // says why the node is sealed
		}
		cmd, err := build(ring)
		if err != nil {
			return nil, err
		}
		cmd.KeyringRestore = RestoreOf(view)
		value, err := p.Propose(ctx, cmd)
		if !errors.Is(err, fsm.Refused(fsm.StaleSeal)) {
			return value, err //nolint:wrapcheck // the caller says what it was about
		}
		if tried == sealTries {
			return nil, fmt.Errorf("%w: the keyring was changed, and is being opened: %w", node.ErrSealed, err)
		}
		select { // the vault opens the changed keyring
		case <-time.After(sealPause):
		case <-ctx.Done():
			return nil, ctx.Err() //nolint:wrapcheck // the caller says what it was about
		}
	}
}
