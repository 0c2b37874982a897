package api

import (
	"bytes"
	"context"
	"fmt"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// disclose derives, or opens, the secrets of an allocation and seals them to the
// recipient. The caller has had the disclosure recorded before.
func (s *Server) disclose(ctx context.Context, view *fsm.View, to wire.Recipient, a *fsmpb.Allocation) (wire.Sealed, error) {
	named := make([]*fsmpb.Key, len(a.GetKeys()))
	for i, pubkey := range a.GetKeys() {
		if named[i] = view.Key(pubkey); named[i] == nil {
			return wire.Sealed{}, fmt.Errorf("key %x of an allocation is not in the state", pubkey)
		}
	}
	keys, err := s.vault.Secrets(ctx, named)
	if err != nil {
		return wire.Sealed{}, fmt.Errorf("secrets of an allocation: %w", err)
	}
	defer func() {
		for _, k := range keys {
			k.Zero()
		}
	}()
	if len(keys) != len(named) {
		return wire.Sealed{}, fmt.Errorf("secrets of an allocation: %d for %d keys", len(keys), len(named))
	}
	secrets := wire.AllocationSecrets{Fence: signed(a.GetFence()), Keys: make([]wire.KeySecret, 0, len(keys))}
	defer func() { secrets.Zero() }()
	for i, key := range keys {
		public := key.PublicKey()
		if !bytes.Equal(public[:], a.GetKeys()[i]) {
			return wire.Sealed{}, fmt.Errorf("index %d (imported: %t) gives %s, not the key of the allocation, %x", named[i].GetIndex(), named[i].GetImported(), public, a.GetKeys()[i])
		}
		secrets.Keys = append(secrets.Keys, wire.KeySecret{Pubkey: public.String(), Path: pathOf(named[i]), Secret: key.Bytes()})
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
