package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
)

// Vault opens and seals the cluster's secrets on one node. It is sealed until
// its key-encryption key opens the keyring of the state.
type Vault struct {
	kek KEK

	mu      sync.Mutex
	record  []byte // the keyring's record that ring was opened from
	ring    *Keyring
	failure error  // why that record does not open with the key named tried
	tried   string // empty if trying again may help
}

// NewVault returns a vault for the node that has this key-encryption key.
func NewVault(kek KEK) *Vault { return &Vault{kek: kek} }

// Usable implements node.Vault: it reports whether secrets of this state can be
// opened, or, before there is a keyring, whether one could be made.
func (v *Vault) Usable(view *fsm.View) (string, bool) {
	if view.Secret(fsm.SecretKeyring) == nil {
		if err := v.kek.Check(context.Background()); err != nil {
			return err.Error(), false
		}
		return "", true
	}
	if _, err := v.Keyring(view); err != nil {
		return err.Error(), false
	}
	return "", true
}

// Keyring returns the opened keyring of this state. The error wraps
// [node.ErrSealed] and says why it does not open.
func (v *Vault) Keyring(view *fsm.View) (*Keyring, error) {
	record := view.Secret(fsm.SecretKeyring).GetSealed()
	if record == nil {
		return nil, fmt.Errorf("%w: the cluster has no keyring yet", node.ErrSealed)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	same := bytes.Equal(record, v.record)
	if same && v.ring != nil {
		return v.ring, nil
	}
	identity, err := v.kek.Identify(context.Background(), view.Meta().GetClusterId())
	id := identity.ID
	if err != nil {
		return nil, fmt.Errorf("%w: %w", node.ErrSealed, err)
	}
	if same && id == v.tried { // a wrong key does not become right by trying again
		return nil, fmt.Errorf("%w: %w", node.ErrSealed, v.failure)
	}
	ring, err := openKeyring(context.Background(), v.kek, view.Meta().GetClusterId(), record)
	v.record, v.ring, v.tried, v.failure = record, ring, "", err
	if errors.Is(err, ErrOpen) || errors.Is(err, ErrNotWrapped) { // not what may be mended, like an unreadable file
		v.tried = id
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", node.ErrSealed, err)
	}
	return ring, nil
}

// Duty makes the keyring of a new cluster.
func (v *Vault) Duty() node.Duty { return node.DutyFunc("keyring", v.found) }

func (v *Vault) found(ctx context.Context, s *node.Session) error {
	view := s.View()
	if view.Secret(fsm.SecretKeyring) == nil {
		record, err := NewKeyring(ctx, v.kek, view.Meta().GetClusterId())
		if err != nil {
			return err
		}
		_, err = s.Propose(ctx, &fsmpb.Command{
			Caller: &fsmpb.Caller{Name: "keyring", Role: "duty"},
			Body:   &fsmpb.Command_InstallKeyring{InstallKeyring: &fsmpb.InstallKeyring{Sealed: record}},
		})
		if err != nil && !errors.Is(err, fsm.Refused(fsm.KeyringExists)) {
			return fmt.Errorf("install keyring: %w", err)
		}
	}
	<-ctx.Done()
	return nil
}
