package validator

import (
	"errors"

	blst "github.com/supranational/blst/bindings/go"
)

// ErrSecretKey is returned for bytes that are no BLS secret key.
var ErrSecretKey = errors.New("malformed BLS secret key: want 32 bytes, big endian, above zero and below the group order")

// domainSeparation is the ciphersuite of Ethereum's consensus layer.
var domainSeparation = []byte("BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_")

// SecretKey is a BLS12-381 secret key. It prints as "[redacted]". Its methods may
// be called concurrently, Zero excepted.
type SecretKey struct {
	Redacted
	key Hidden[blst.SecretKey]
}

// SecretKeyFromBytes copies a key of 32 bytes, big endian. It returns
// ErrSecretKey for another length, zero, and numbers from the group order on.
func SecretKeyFromBytes(secret []byte) (*SecretKey, error) {
	key := new(blst.SecretKey)
	if key.Deserialize(secret) == nil || !key.Valid() {
		return nil, ErrSecretKey
	}
	return &SecretKey{key: Hide(key)}, nil
}

// Bytes returns the key as 32 bytes, big endian, which the caller should clear.
func (k *SecretKey) Bytes() []byte { return k.key.Reveal().Serialize() }

// PublicKey returns the public key.
func (k *SecretKey) PublicKey() PublicKey {
	return PublicKey(new(blst.P1Affine).From(k.key.Reveal()).Compress())
}

// Sign signs a signing root: an object's hash tree root mixed with its domain.
func (k *SecretKey) Sign(root [32]byte) Signature {
	return Signature(new(blst.P2Affine).Sign(k.key.Reveal(), root[:], domainSeparation).Compress())
}

// Zero clears the key from memory. What it signs afterwards verifies nowhere.
func (k *SecretKey) Zero() { k.key.Reveal().Zeroize() }
