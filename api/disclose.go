package api

import (
	"bytes"
	"context"
	"fmt"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// disclose derives the secrets of an allocation and seals them to the
// recipient. The caller has had the disclosure recorded before.
func (s *Server) disclose(ctx context.Context, view *fsm.View, to wire.Recipient, a *fsmpb.Allocation) (wire.Sealed, error) {
	indexes := make([]uint64, len(a.GetKeys()))
	for i, pubkey := range a.GetKeys() {
		k := view.Key(pubkey)
		if k == nil {
			return wire.Sealed{}, fmt.Errorf("key %x of an allocation is not in the state", pubkey)
		}
		indexes[i] = k.GetIndex()
	}
	keys, err := s.vault.SigningKeys(ctx, indexes)
	if err != nil {
		return wire.Sealed{}, fmt.Errorf("derive keys: %w", err)
	}
	defer func() {
		for _, k := range keys {
			k.Zero()
		}
	}()
	if len(keys) != len(indexes) {
		return wire.Sealed{}, fmt.Errorf("derive keys: %d for %d indexes", len(keys), len(indexes))
	}
	secrets := wire.AllocationSecrets{Fence: signed(a.GetFence()), Keys: make([]wire.KeySecret, 0, len(keys))}
	defer func() { secrets.Zero() }()
	for i, key := range keys {
		public := key.PublicKey()
		if !bytes.Equal(public[:], a.GetKeys()[i]) {
			return wire.Sealed{}, fmt.Errorf("index %d derives %s, not the key of the allocation, %x", indexes[i], public, a.GetKeys()[i])
		}
		secrets.Keys = append(secrets.Keys, wire.KeySecret{
			Pubkey: public.String(), Path: validator.SigningPath(indexes[i]), Secret: key.Bytes(),
		})
	}
	return sealTo(to, view.Meta().GetClusterId(), a.GetPod(), secrets)
}

func sealTo(to wire.Recipient, clusterID string, p *fsmpb.Pod, secrets wire.AllocationSecrets) (wire.Sealed, error) {
	plaintext, err := secrets.Encode()
	if err != nil {
		return wire.Sealed{}, fmt.Errorf("encode secrets: %w", err)
	}
	defer clear(plaintext)
	sealed, err := to.Seal(wire.AllocationInfo(clusterID, p.GetNamespace(), p.GetName(), p.GetUid()), plaintext)
	if err != nil {
		return wire.Sealed{}, fmt.Errorf("seal secrets to the caller: %w", err)
	}
	return sealed, nil
}
