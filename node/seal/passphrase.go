package seal

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// The second recommended parameters of RFC 9106, section 4. They are part of the
// salt, so other parameters make another key with another ID.
const (
	argonPasses  = 3
	argonMemory  = 64 << 10 // KiB
	argonLanes   = 4
	minCharacter = 16
)

// passphraseKEK is a key derived from a passphrase in a file, which only its owner
// and group may read. The salt is the cluster ID, so that one passphrase makes
// another key in each cluster.
type passphraseKEK struct {
	path string
	// busy holds its one element while somebody derives: one at a time keeps the
	// memory bounded, and a wait for it ends with the context.
	busy  chan struct{}
	cache *derivedKeys
}

// derivedKeys are the keys that were derived last; deriving them costs 64 MiB and a
// quarter of a second.
type derivedKeys struct {
	pepper [KeySize]byte // random: the fingerprint is of use in this process only
	of     [sha256.Size]byte
	wrap   *secretBytes // encrypts the root key; nil before the first time
	id     string
}

func newPassphrase(path string) (KEK, error) {
	if !filepath.IsAbs(path) { // it may be the passphrase itself, which errors about a file would name
		return nil, fmt.Errorf("%w: want passphrase:/PATH of a file, from the root", ErrKEK)
	}
	cache := new(derivedKeys)
	_, _ = rand.Read(cache.pepper[:]) // never fails
	return passphraseKEK{path: path, busy: make(chan struct{}, 1), cache: cache}, nil
}

// load reads the passphrase; the caller zeroes it.
func (p passphraseKEK) load() ([]byte, error) {
	text, err := readSecret(p.path)
	if err != nil {
		return nil, err
	}
	phrase := bytes.TrimRight(text, "\r\n")
	switch {
	case !utf8.Valid(phrase), bytes.ContainsAny(phrase, "\r\n\x00"):
		err = fmt.Errorf("%w %s: want one line of text", ErrKEK, p.path)
	case utf8.RuneCount(phrase) < minCharacter:
		err = fmt.Errorf("%w %s: a passphrase has at least %d characters", ErrKEK, p.path, minCharacter)
	}
	if err != nil {
		clear(text)
		return nil, err
	}
	return phrase, nil
}

// with calls use with the derived key and its ID, derived anew if file or cluster are
// not those of the last time. The key must not be kept.
func (p passphraseKEK) with(ctx context.Context, clusterID string, use func(key []byte, id string) error) error {
	if clusterID == "" {
		return fmt.Errorf("%w %s: %w", ErrKEK, p.path, errNoCluster)
	}
	select {
	case p.busy <- struct{}{}:
		defer func() { <-p.busy }()
	case <-ctx.Done():
		return fmt.Errorf("%w %s: %w", ErrKEK, p.path, ctx.Err())
	}
	if err := ctx.Err(); err != nil { // both may have been ready
		return fmt.Errorf("%w %s: %w", ErrKEK, p.path, err)
	}
	phrase, err := p.load()
	if err != nil {
		return err
	}
	defer clear(phrase)
	if err := p.cache.derive(phrase, clusterID); err != nil {
		return fmt.Errorf("%w %s: %w", ErrKEK, p.path, err)
	}
	id := p.cache.id
	return p.cache.wrap.use(func(key []byte) error { return use(key, id) })
}

func (d *derivedKeys) derive(phrase []byte, clusterID string) error {
	mac := hmac.New(sha256.New, d.pepper[:])
	mac.Write(additional(clusterID))
	mac.Write(phrase)
	if of := [sha256.Size]byte(mac.Sum(nil)); d.wrap == nil || of != d.of {
		salt := additional("keysteward passphrase", fmt.Sprintf("argon2id v=%d t=%d m=%d p=%d", argon2.Version, argonPasses, argonMemory, argonLanes), clusterID)
		derived := argon2.IDKey(phrase, salt, argonPasses, argonMemory, argonLanes, KeySize)
		defer clear(derived)
		wrap, err := hkdf.Key(sha256.New, derived, nil, "keysteward passphrase key", KeySize)
		if err != nil {
			return err //nolint:wrapcheck // the caller says whose
		}
		id, err := hkdf.Key(sha256.New, derived, nil, "keysteward key-encryption key ID", 8)
		if err != nil {
			return err //nolint:wrapcheck // the caller says whose
		}
		if d.wrap != nil {
			d.wrap.destroy()
		}
		d.of, d.wrap, d.id = of, takeSecret(wrap), "passphrase:"+hex.EncodeToString(id)
	}
	return nil
}

// Check implements KEK. It reads the file and derives nothing.
func (p passphraseKEK) Check(context.Context) error {
	phrase, err := p.load()
	clear(phrase)
	return err
}

// Identify implements KEK. To try a passphrase against the ID costs as much as to
// derive its key.
func (p passphraseKEK) Identify(ctx context.Context, clusterID string) (identity Identity, err error) {
	err = p.with(ctx, clusterID, func(_ []byte, id string) error {
		identity.ID = id
		return nil
	})
	return identity, err
}

// Wrap implements KEK.
func (p passphraseKEK) Wrap(ctx context.Context, clusterID string, plaintext, additional []byte) (wrapped []byte, err error) {
	err = p.with(ctx, clusterID, func(key []byte, _ string) (err error) {
		wrapped, err = encrypt(key, plaintext, additional)
		return err
	})
	return wrapped, err
}

// Unwrap implements KEK.
func (p passphraseKEK) Unwrap(ctx context.Context, clusterID string, wrapped, additional []byte) (plaintext []byte, err error) {
	err = p.with(ctx, clusterID, func(key []byte, _ string) (err error) {
		plaintext, err = decrypt(key, wrapped, additional)
		return err
	})
	return plaintext, err
}
