package seal

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
)

// KeySize is the length in bytes of every key of this package (AES-256).
const KeySize = 32

// KEK is a key-encryption key: it wraps the root key.
type KEK interface {
	// ID names the key without giving anything away; a keyring says by it which
	// keys wrap its root key. The error says why the key can not be used now.
	ID() (string, error)
	// Wrap encrypts the root key under the additional data.
	Wrap(plaintext, additional []byte) ([]byte, error)
	// Unwrap reverses Wrap.
	Unwrap(wrapped, additional []byte) ([]byte, error)
}

// ErrKEK says that a key-encryption key is missing, unreadable or malformed.
var ErrKEK = errors.New("key-encryption key")

// ParseKEK makes a key-encryption key from its description. "file:PATH" is a
// file with 32 bytes in hex, such as `openssl rand -hex 32` writes; it is read
// when it is needed, so a missing file is no error here.
func ParseKEK(description string) (KEK, error) {
	scheme, rest, ok := strings.Cut(description, ":")
	if !ok || scheme != "file" || rest == "" {
		return nil, fmt.Errorf("%w %q: want file:PATH", ErrKEK, description)
	}
	return fileKEK{path: rest}, nil
}

// fileKEK is a key in a file, which only its owner and group may read.
type fileKEK struct{ path string }

const worldAccess = 0o007

func (f fileKEK) load() ([]byte, error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKEK, err)
	}
	if info.Mode().Perm()&worldAccess != 0 {
		return nil, fmt.Errorf("%w %s: mode %v lets everybody in (chmod o= %s)", ErrKEK, f.path, info.Mode().Perm(), f.path)
	}
	text, err := os.ReadFile(f.path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKEK, err)
	}
	defer clear(text)
	key := make([]byte, KeySize)
	if n, err := hex.Decode(key, trimSpace(text, 2*KeySize)); err != nil || n != KeySize {
		return nil, fmt.Errorf("%w %s: want exactly %d hex digits", ErrKEK, f.path, 2*KeySize)
	}
	return key, nil
}

// trimSpace cuts white space off, and what is too long down to a length that
// can not be right either, without making a copy that nobody would zero.
func trimSpace(b []byte, want int) []byte {
	for len(b) > 0 && strings.ContainsRune(" \t\r\n", rune(b[len(b)-1])) {
		b = b[:len(b)-1]
	}
	if len(b) != want {
		return nil
	}
	return b
}

// ID implements KEK.
func (f fileKEK) ID() (string, error) {
	key, err := f.load()
	if err != nil {
		return "", err
	}
	defer clear(key)
	id, err := hkdf.Key(sha256.New, key, nil, "keysteward key-encryption key ID", 8)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrKEK, err)
	}
	return "file:" + hex.EncodeToString(id), nil
}

// Wrap implements KEK.
func (f fileKEK) Wrap(plaintext, additional []byte) ([]byte, error) {
	key, err := f.load()
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return encrypt(key, plaintext, additional)
}

// Unwrap implements KEK.
func (f fileKEK) Unwrap(wrapped, additional []byte) ([]byte, error) {
	key, err := f.load()
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return decrypt(key, wrapped, additional)
}
