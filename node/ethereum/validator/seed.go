package validator

import (
	"errors"
	"fmt"
	"math"
	"sync"

	blst "github.com/supranational/blst/bindings/go"
)

const (
	seedLength = 64

	// purpose and coinType open every path of EIP-2334: m/12381/3600.
	purpose  = 12381
	coinType = 3600
)

var (
	// ErrSeed is returned for bytes that cannot be a seed.
	ErrSeed = errors.New("malformed seed")
	// ErrZeroed is returned when a seed is used after Zero.
	ErrZeroed = errors.New("the seed was cleared from memory")
	// ErrIndex is returned for a key index that EIP-2333 has no child for.
	ErrIndex = errors.New("key index out of range")
)

// Seed holds the 64 bytes of which all validator keys are derived (EIP-2333,
// EIP-2334). It prints as "[redacted]" and is safe for concurrent use.
type Seed struct {
	Redacted
	state Hidden[seedState]
}

type seedState struct {
	mu      sync.RWMutex
	bytes   [seedLength]byte
	account *blst.SecretKey // m/12381/3600, where all paths part; nil once zeroed
}

// SeedFromBytes copies a seed of exactly 64 bytes, the length that BIP-39 gives.
func SeedFromBytes(seed []byte) (*Seed, error) {
	if len(seed) != seedLength {
		return nil, fmt.Errorf("%w: it has %d bytes, want %d", ErrSeed, len(seed), seedLength)
	}
	state := &seedState{bytes: [seedLength]byte(seed)}
	state.account = derive(seed, purpose, coinType)
	return &Seed{state: Hide(state)}, nil
}

// Bytes returns a copy of the seed, which the caller should clear; nil after Zero.
func (s *Seed) Bytes() []byte {
	state := s.state.Reveal()
	state.mu.RLock()
	defer state.mu.RUnlock()
	if state.account == nil {
		return nil
	}
	seed := state.bytes
	return seed[:]
}

// Zero clears the seed from memory. Keys derived before stay usable.
func (s *Seed) Zero() {
	state := s.state.Reveal()
	state.mu.Lock()
	defer state.mu.Unlock()
	clear(state.bytes[:])
	if state.account != nil {
		state.account.Zeroize()
		state.account = nil
	}
}

// SigningKey derives the key with which validator index signs, at SigningPath.
// Errors: ErrIndex from 2^32 on, ErrZeroed after Zero.
func (s *Seed) SigningKey(index uint64) (*SecretKey, error) {
	return s.child(index, 0, 0)
}

// WithdrawalKey derives the key that 0x00 credentials of validator index name, at
// WithdrawalPath. Errors as SigningKey.
func (s *Seed) WithdrawalKey(index uint64) (*SecretKey, error) {
	return s.child(index, 0)
}

// Fingerprint names the seed by the public key of signing key 0, which is public
// by nature. It is empty after Zero.
func (s *Seed) Fingerprint() string {
	key, err := s.SigningKey(0)
	if err != nil {
		return ""
	}
	defer key.Zero()
	return key.PublicKey().String()
}

// SigningPath is the EIP-2334 path of a signing key: m/12381/3600/index/0/0.
func SigningPath(index uint64) string { return fmt.Sprintf("m/12381/3600/%d/0/0", index) }

// WithdrawalPath is the EIP-2334 path of a withdrawal key: m/12381/3600/index/0.
func WithdrawalPath(index uint64) string { return fmt.Sprintf("m/12381/3600/%d/0", index) }

func (s *Seed) child(index uint64, rest ...uint32) (*SecretKey, error) {
	if index > math.MaxUint32 {
		return nil, fmt.Errorf("%w: %d is not below 2^32", ErrIndex, index)
	}
	state := s.state.Reveal()
	state.mu.RLock()
	defer state.mu.RUnlock()
	if state.account == nil {
		return nil, fmt.Errorf("derive key %d: %w", index, ErrZeroed)
	}
	key := descend(state.account.DeriveChildEip2333(uint32(index)), rest...)
	return &SecretKey{key: Hide(key)}, nil
}

// derive returns the key at a path below the master key of a seed, which has at
// least 32 bytes.
func derive(seed []byte, path ...uint32) *blst.SecretKey {
	return descend(blst.DeriveMasterEip2333(seed), path...)
}

// descend follows a path from a key and clears that key and every key between.
func descend(key *blst.SecretKey, path ...uint32) *blst.SecretKey {
	for _, index := range path {
		parent := key
		key = parent.DeriveChildEip2333(index)
		parent.Zeroize()
	}
	return key
}
