package seal

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/backup"
)

// deriveBackups derives what authenticates backups from the root key (HKDF-SHA256,
// RFC 5869), which itself is in memory only while a keyring is opened or changed.
func (r *rooted) deriveBackups() error {
	secret, err := hkdf.Key(sha256.New, r.root, []byte(r.clusterID), "keysteward backups 1", KeySize)
	if err != nil {
		return fmt.Errorf("derive the key of backups: %w", err)
	}
	r.backups = takeSecret(secret)
	return nil
}

func (k *Keyring) backupKey(fileID string) (key backup.Key, err error) {
	err = k.backups.use(func(secret []byte) error {
		key, err = backup.NewKey(secret, k.clusterID, fileID)
		return err
	})
	return key, err
}

// BackupKey returns the key that authenticates a backup of this state. It asks no
// key-encryption key, so backups go on while one is away. The error wraps
// [node.ErrSealed] where the keyring of the state is not open, or not yet.
func (v *Vault) BackupKey(view *fsm.View, fileID string) (backup.Key, error) {
	ring, err := v.Keyring(view)
	if err != nil {
		return backup.Key{}, err
	}
	v.mu.Lock()
	same := ring == v.ring && bytes.Equal(v.ringOf, view.Secret(fsm.SecretKeyring).GetSealed())
	v.mu.Unlock()
	if !same { // the file would not open by the keyring in it
		return backup.Key{}, errChanged
	}
	return ring.backupKey(fileID)
}

// OpenBackup returns the key of a backup by opening the keyring in its manifest with
// one of this node's key-encryption keys: whoever restores proves that he has one. The
// error wraps [backup.ErrForeign] if none opens it, and [node.ErrSealed] if that can not
// be told because one can not be used now.
func (v *Vault) OpenBackup(ctx context.Context, m *backup.Manifest) (backup.Key, error) {
	r, err := openRooted(ctx, m.ClusterID, m.Keyring, v.keks)
	switch {
	case err == nil:
	case errors.Is(err, ErrKEK), ctx.Err() != nil:
		return backup.Key{}, fmt.Errorf("%w: the backup's keyring: %w", node.ErrSealed, err)
	default:
		return backup.Key{}, fmt.Errorf("%w: %w", backup.ErrForeign, err)
	}
	r.zero()
	return r.backupKey(m.FileID)
}
