package ethereum

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
	"github.com/keysteward/keysteward/node/seal"
)

// ImportKeys seals the secrets and gives them to the cluster in one command,
// which a few thousand fit. It reports for each, in order, whether it was new;
// a known key stays as it is. The secrets remain the caller's.
func (s *Seeds) ImportKeys(ctx context.Context, secrets []*validator.SecretKey, caller *fsmpb.Caller, requestID string) (fsm.Imported, error) {
	value, err := s.proposeSealed(ctx, func(ring *seal.Keyring) (*fsmpb.Command, error) {
		c, err := sealKeys(ring, secrets)
		return &fsmpb.Command{Caller: caller, RequestId: requestID, Body: &fsmpb.Command_ImportKeys{ImportKeys: c}}, err
	})
	if err != nil {
		return nil, fmt.Errorf("import keys: %w", err)
	}
	fresh, ok := value.(fsm.Imported)
	if !ok || len(fresh) != len(secrets) {
		return nil, fmt.Errorf("import keys: the state machine answered %T about %d keys", value, len(secrets))
	}
	return fresh, nil
}

func sealKeys(ring *seal.Keyring, secrets []*validator.SecretKey) (*fsmpb.ImportKeys, error) {
	c := &fsmpb.ImportKeys{Keys: make([]*fsmpb.ImportedKey, len(secrets))}
	for i, secret := range secrets {
		public := secret.PublicKey()
		plain := secret.Bytes()
		sealed, err := ring.Seal(seal.KindKey, hex.EncodeToString(public[:]), plain)
		clear(plain)
		if err != nil {
			return nil, err //nolint:wrapcheck // names the key
		}
		c.Keys[i] = &fsmpb.ImportedKey{Pubkey: public[:], Sealed: sealed}
	}
	return c, nil
}

// Secrets opens the secrets of these keys, in their order: those that were
// imported from their records, the others from the seed, which need not exist
// if there are none. That they belong to the public keys is for the caller to
// check, and so is zeroing them.
func (s *Seeds) Secrets(ctx context.Context, keys []*fsmpb.Key) (secrets []*validator.SecretKey, err error) {
	secrets = make([]*validator.SecretKey, len(keys))
	defer func() {
		if err != nil {
			zeroAll(secrets)
			secrets = nil
		}
	}()
	var places []int
	var indexes []uint64
	for i, k := range keys {
		if !k.GetImported() {
			places, indexes = append(places, i), append(indexes, k.GetIndex())
			continue
		}
		if secrets[i], err = s.openImported(k); err != nil {
			return secrets, err
		}
	}
	if len(indexes) == 0 {
		return secrets, nil
	}
	derived, err := s.SigningKeys(ctx, indexes)
	if err != nil {
		return secrets, err
	}
	for i, place := range places {
		secrets[place] = derived[i]
	}
	return secrets, nil
}

func (s *Seeds) openImported(k *fsmpb.Key) (*validator.SecretKey, error) {
	ring, err := s.vault.Keyring(s.node.View())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSealed, err)
	}
	plain, err := ring.Open(seal.KindKey, hex.EncodeToString(k.GetPubkey()), k.GetSealed())
	if err != nil {
		return nil, fmt.Errorf("open imported key: %w", err)
	}
	defer clear(plain)
	secret, err := validator.SecretKeyFromBytes(plain)
	if err != nil {
		return nil, fmt.Errorf("open imported key 0x%x: %w", k.GetPubkey(), err)
	}
	return secret, nil
}

func zeroAll(secrets []*validator.SecretKey) {
	for _, secret := range secrets {
		if secret != nil {
			secret.Zero()
		}
	}
}
