package seal

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// KeySize is the length in bytes of every key of this package (AES-256).
const KeySize = 32

// KEK is a key-encryption key: it wraps the root key. Its methods may take long,
// because a key may lie in another process or machine; they end with the context.
type KEK interface {
	// Check reports why the key can not be used now, nil if it can.
	Check(ctx context.Context) error
	// Identify names the key within a cluster. The error wraps [ErrKEK] and says
	// why it can not be used now.
	Identify(ctx context.Context, clusterID string) (Identity, error)
	// Wrap encrypts a root key of this cluster under the additional data.
	Wrap(ctx context.Context, clusterID string, plaintext, additional []byte) ([]byte, error)
	// Unwrap reverses Wrap; the error wraps [ErrOpen] if the key is another one or
	// something was altered, and [ErrKEK] if the key can not be used now.
	Unwrap(ctx context.Context, clusterID string, wrapped, additional []byte) ([]byte, error)
}

// Identity names a key-encryption key without giving anything away.
type Identity struct {
	// ID is the kind, a colon and hex digits: "file:0123456789abcdef". The keyring
	// says by it which keys wrap its root key.
	ID string
	// Public is what others need to wrap for the key, where that is possible
	// without having it ([WrapFor]); nil otherwise.
	Public []byte
	// Version changes when the key itself was changed behind its ID, as a key
	// management service may do; what was wrapped before should be wrapped again.
	Version string
}

// Kind is the part of the ID before the colon.
func (i Identity) Kind() string {
	kind, _, _ := strings.Cut(i.ID, ":")
	return kind
}

// ErrKEK says that a key-encryption key is missing, unreadable or malformed.
var ErrKEK = errors.New("key-encryption key")

// ErrNotWrapped says that a keyring is not wrapped by this key-encryption key.
var ErrNotWrapped = errors.New("keyring is wrapped by other key-encryption keys")

// kinds makes the key-encryption key of each kind from what stands behind "kind:".
var kinds = map[string]func(rest string) (KEK, error){
	"file":       newFile,
	"passphrase": newPassphrase,
	"tpm":        newTPM,
	"kms":        newKMS,
}

// ParseKEK makes a key-encryption key from its description, KIND:WHERE. What it
// describes is looked at when it is needed, so a missing file is no error here.
// Errors do not repeat the description: it may be the key itself, given by mistake.
func ParseKEK(description string) (KEK, error) {
	kind, rest, _ := strings.Cut(description, ":")
	parse := kinds[kind]
	if parse == nil || rest == "" {
		return nil, fmt.Errorf("%w: want file:/PATH, passphrase:/PATH, tpm:DEVICE or kms:unix:///PATH", ErrKEK)
	}
	return parse(rest)
}

// WrapFor encrypts a root key for a key-encryption key of which only the public
// part is here, so that only that key unwraps it.
func WrapFor(to Identity, plaintext, additional []byte) ([]byte, error) {
	if to.Kind() == "tpm" {
		return wrapForTPM(to, plaintext, additional)
	}
	return nil, fmt.Errorf("%w: %s has no public part", ErrKEK, to.ID)
}
