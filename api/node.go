package api

import (
	"context"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/backup"
	"github.com/keysteward/keysteward/node/ethereum/validator"
	"github.com/keysteward/keysteward/node/seal"
)

// Node is what the interface needs of a cluster's member.
type Node interface {
	// Status is what the node knows about itself and the leader now.
	Status() node.Status
	// View is the state as this node has applied it.
	View() *fsm.View
	// Barrier returns once everything that was committed before the call is
	// applied here; [node.ErrNotLeader] if this node does not lead.
	Barrier(ctx context.Context) error
	// Propose fills in version, session and wall clock of the command and returns
	// its value, or an error: one that wraps [fsm.Refusal], or
	// [node.ErrNotLeader], [node.ErrUnknownOutcome] or [node.ErrTooLarge].
	Propose(ctx context.Context, cmd *fsmpb.Command) (any, error)
	// Checks are the lines of the node's readiness.
	Checks() []node.Check
}

// Seal is what the interface needs of the keyring; [seal.Vault] says what its
// methods promise.
type Seal interface {
	// Rotate makes a new data key.
	Rotate(ctx context.Context, p seal.Proposer, ask seal.Asker) error
	// Add lets one more key-encryption key open the secrets.
	Add(ctx context.Context, p seal.Proposer, ask seal.Asker, id string, force bool) error
	// Remove lets a key-encryption key open nothing more.
	Remove(ctx context.Context, p seal.Proposer, ask seal.Asker, id string, force bool) error
	// BackupKey authenticates a backup of this state.
	BackupKey(view *fsm.View, fileID string) (backup.Key, error)
	// OpenBackup finds the key of a backup by this node's key-encryption keys.
	OpenBackup(ctx context.Context, m *backup.Manifest) (backup.Key, error)
	// Verify has this node try its key-encryption keys.
	Verify(ctx context.Context, view *fsm.View) ([]seal.Verified, error)
}

// Vault is what the interface needs of the cluster's secrets. All but Sealed
// return [node.ErrSealed] on a sealed node.
type Vault interface {
	// Secrets derives or opens the secrets of these keys, in their order. The
	// caller zeroes them.
	Secrets(ctx context.Context, keys []*fsmpb.Key) ([]*validator.SecretKey, error)
	// ImportKeys seals the secrets and proposes them on behalf of the caller; it
	// reports which were new, in their order. The secrets remain the caller's.
	ImportKeys(ctx context.Context, secrets []*validator.SecretKey, caller *fsmpb.Caller, requestID string) (fsm.Imported, error)
	// InstallSeed seals the seed and proposes it on behalf of the caller.
	InstallSeed(ctx context.Context, seed *validator.Seed, caller *fsmpb.Caller, requestID string) error
	// Sealed tells whether the node is sealed, and why.
	Sealed() (reason string, sealed bool)
}
