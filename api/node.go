package api

import (
	"context"
	"time"

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
	// Leads is IsLeader of Status, for a fraction of its time.
	Leads() bool
	// LastContact is that of Status, for a fraction of its time.
	LastContact() time.Duration
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

// Members is what the interface needs to change who takes part in the cluster. Errors
// are [node.MembersKept], or as for [Node].Propose; it answers on the leader only.
type Members interface {
	// Join lets the node at an address (host:port) in.
	Join(ctx context.Context, by node.Asker, address string) (node.Member, error)
	// Remove takes a member out.
	Remove(ctx context.Context, by node.Asker, id string, force bool) error
	// Promote lets a member vote that has caught up.
	Promote(ctx context.Context, by node.Asker, id string) error
	// Transfer hands leadership over, to anybody if to is empty, and returns who leads
	// then as far as is known.
	Transfer(ctx context.Context, by node.Asker, to string) (leader string, err error)
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
