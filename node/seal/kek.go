package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
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

// ErrNotWrapped says that a keyring is not wrapped by this key-encryption key.
var ErrNotWrapped = errors.New("keyring is wrapped by other key-encryption keys")

// ParseKEK makes a key-encryption key from its description. "file:PATH" is a
// file with 32 bytes in hex, such as `openssl rand -hex 32` writes; it is read
// when it is needed, so a missing file is no error here. Errors do not repeat
// the description: it may be the key itself, given by mistake.
func ParseKEK(description string) (KEK, error) {
	path, ok := strings.CutPrefix(description, "file:")
	if !ok || path == "" {
		return nil, fmt.Errorf("%w: want file:PATH", ErrKEK)
	}
	return fileKEK{path: path}, nil
}

// fileKEK is a key in a file, which only its owner and group may read.
type fileKEK struct{ path string }

const (
	worldAccess  = 0o007
	maxFileBytes = 4096
)

func (f fileKEK) load() ([]byte, error) {
	file, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not make the node wait
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKEK, err)
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrKEK, err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w %s: not a regular file", ErrKEK, f.path)
	case info.Mode().Perm()&worldAccess != 0:
		return nil, fmt.Errorf("%w %s: mode %v lets everybody in (chmod o= %s)", ErrKEK, f.path, info.Mode().Perm(), f.path)
	case info.Size() > maxFileBytes:
		return nil, fmt.Errorf("%w %s: want exactly %d hex digits", ErrKEK, f.path, 2*KeySize)
	}
	text := make([]byte, maxFileBytes)
	defer clear(text)
	n, err := io.ReadFull(file, text)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%w: %w", ErrKEK, err)
	}
	return parseHex(text[:n], f.path)
}

// parseHex makes no copy of the digits that nobody would zero, and says nothing
// about them in its error.
func parseHex(text []byte, path string) ([]byte, error) {
	digits := bytes.TrimRight(text, " \t\r\n")
	key := make([]byte, KeySize)
	if len(digits) == 2*KeySize {
		if _, err := hex.Decode(key, digits); err == nil {
			return key, nil
		}
	}
	clear(key)
	return nil, fmt.Errorf("%w %s: want exactly %d hex digits", ErrKEK, path, 2*KeySize)
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
