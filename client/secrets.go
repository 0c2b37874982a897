package client

import (
	"crypto/hpke"
	"fmt"
	"regexp"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// KeySet is an allocation with its secrets.
type KeySet struct {
	// Allocation is the public part.
	Allocation wire.Allocation
	// Keys are in the order of the allocation, which never changes.
	Keys []ValidatorKey
	// Retired are those of AllocateOptions.Has that are the pod's no more because
	// they are retired.
	Retired Retired
}

// ValidatorKey is a key of a pod. It prints without its secret.
type ValidatorKey struct {
	PublicKey validator.PublicKey
	// Path is the EIP-2334 path; empty for an imported key.
	Path   string
	Secret *validator.SecretKey
}

// Zero clears the secrets from memory.
func (s *KeySet) Zero() {
	for _, key := range s.Keys {
		key.Secret.Zero()
	}
}

// checkAllocation compares the public part of an answer with the request.
func checkAllocation(clusterID string, asked wire.AllocationRequest, minFence int64, a wire.Allocation) error {
	switch {
	case a.ClusterID != clusterID:
		return fmt.Errorf("%w: it comes from cluster %q, asked was %q", ErrAnswer, a.ClusterID, clusterID)
	case a.Namespace != asked.Namespace || a.Pod != asked.Pod || a.PodUID != asked.PodUID:
		return fmt.Errorf("%w: it is for pod %s/%s with UID %q, asked was for %s/%s with UID %q",
			ErrAnswer, a.Namespace, a.Pod, a.PodUID, asked.Namespace, asked.Pod, asked.PodUID)
	case a.State != wire.AllocationStateHeld:
		return fmt.Errorf("%w: the allocation is %s, not %s", ErrAnswer, a.State, wire.AllocationStateHeld)
	case int64(len(a.Keys)) < asked.Keys:
		return fmt.Errorf("%w: it has %d keys, asked were %d", ErrAnswer, len(a.Keys), asked.Keys)
	case a.Fence < minFence:
		return fmt.Errorf("%w: its fence is %d, and %d was seen before: the server's state is older than that", ErrAnswer, a.Fence, minFence)
	case a.Secrets.Ciphertext == nil:
		return fmt.Errorf("%w: it has no secrets", ErrAnswer)
	}
	return nil
}

// openSecrets decrypts with an info made of what was asked, so that an answer to
// anything else does not open, and checks every secret against its public key.
func openSecrets(private hpke.PrivateKey, clusterID string, asked wire.AllocationRequest, a wire.Allocation) (*KeySet, error) {
	info := wire.AllocationInfo(clusterID, asked.Namespace, asked.Pod, asked.PodUID)
	plaintext, err := a.Secrets.Open(private, info)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	defer clear(plaintext)
	secrets, err := wire.DecodeSecrets(plaintext)
	defer secrets.Zero()
	if err != nil {
		// What encoding/json says may hold a part of the text.
		return nil, fmt.Errorf("%w: the secrets are not readable", ErrAnswer)
	}
	if secrets.Fence != a.Fence {
		return nil, fmt.Errorf("%w: the secrets are of fence %d, the allocation of %d", ErrAnswer, secrets.Fence, a.Fence)
	}
	if len(secrets.Keys) != len(a.Keys) {
		return nil, fmt.Errorf("%w: it names %d keys and has the secrets of %d", ErrAnswer, len(a.Keys), len(secrets.Keys))
	}
	set := &KeySet{Allocation: a}
	set.Allocation.Secrets = wire.Sealed{}
	seen := map[validator.PublicKey]bool{}
	for i, secret := range secrets.Keys {
		key, err := openKey(a.Keys[i], secret)
		if err == nil && seen[key.PublicKey] {
			err = fmt.Errorf("%w: key %s is there twice", ErrAnswer, key.PublicKey)
			key.Secret.Zero()
		}
		if err != nil {
			set.Zero()
			return nil, err
		}
		seen[key.PublicKey] = true
		set.Keys = append(set.Keys, key)
	}
	return set, nil
}

// derivationPath is an EIP-2334 path, or nothing.
var derivationPath = regexp.MustCompile(`^(m(/[0-9]{1,10}){1,8})?$`)

// openKey makes a key of its secret, which has to be the one of the public key that
// stands in the same place of the allocation.
func openKey(named string, secret wire.KeySecret) (ValidatorKey, error) {
	public, err := validator.ParsePublicKey(named)
	if err != nil {
		return ValidatorKey{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	if inner, err := validator.ParsePublicKey(secret.Pubkey); err != nil || inner != public {
		return ValidatorKey{}, fmt.Errorf("%w: where the allocation has key %s the secrets have %.100q", ErrAnswer, public, secret.Pubkey)
	}
	if !derivationPath.MatchString(secret.Path) {
		return ValidatorKey{}, fmt.Errorf("%w: key %s has no EIP-2334 path", ErrAnswer, public)
	}
	key, err := validator.SecretKeyFromBytes(secret.Secret)
	if err != nil {
		return ValidatorKey{}, fmt.Errorf("%w: key %s: %w", ErrAnswer, public, err)
	}
	if derived := key.PublicKey(); derived != public {
		key.Zero()
		return ValidatorKey{}, fmt.Errorf("%w: the secret for key %s is that of %s", ErrAnswer, public, derived)
	}
	return ValidatorKey{PublicKey: public, Path: secret.Path, Secret: key}, nil
}
