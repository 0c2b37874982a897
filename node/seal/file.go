package seal

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// fileKEK is a key in a file, which only its owner and group may read: 32 bytes in
// hex, such as `openssl rand -hex 32` writes.
type fileKEK struct{ path string }

const (
	worldAccess  = 0o007
	maxFileBytes = 4096
)

func newFile(path string) (KEK, error) {
	if !filepath.IsAbs(path) { // it may be the key itself, which errors about a file would name
		return nil, fmt.Errorf("%w: want file:/PATH, from the root", ErrKEK)
	}
	return fileKEK{path: path}, nil
}

func (f fileKEK) load() ([]byte, error) {
	text, err := readSecret(f.path)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	return parseHex(text, f.path)
}

// readSecret reads a small file that not everybody may read. The caller zeroes
// what it returns; errors name the path and nothing of the content.
func readSecret(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not make the node wait
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKEK, err)
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrKEK, err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w %s: not a regular file", ErrKEK, path)
	case info.Mode().Perm()&worldAccess != 0:
		return nil, fmt.Errorf("%w %s: mode %v lets everybody in (chmod o= %s)", ErrKEK, path, info.Mode().Perm(), path)
	case info.Size() > maxFileBytes:
		return nil, fmt.Errorf("%w %s: larger than %d bytes", ErrKEK, path, maxFileBytes)
	}
	text := make([]byte, maxFileBytes)
	n, err := io.ReadFull(file, text)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		clear(text)
		return nil, fmt.Errorf("%w: %w", ErrKEK, err)
	}
	return text[:n], nil
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

// Check implements KEK.
func (f fileKEK) Check(context.Context) error {
	key, err := f.load()
	clear(key)
	return err
}

// Identify implements KEK.
func (f fileKEK) Identify(context.Context, string) (Identity, error) {
	key, err := f.load()
	if err != nil {
		return Identity{}, err
	}
	defer clear(key)
	id, err := fileID(key)
	return Identity{ID: id}, err
}

// FileID is the ID of the key-encryption key that a file with this content holds, as
// it stands in the status of a cluster.
func FileID(content []byte) (string, error) {
	key, err := parseHex(content, "file")
	if err != nil {
		return "", err
	}
	defer clear(key)
	return fileID(key)
}

func fileID(key []byte) (string, error) {
	id, err := hkdf.Key(sha256.New, key, nil, "keysteward key-encryption key ID", 8)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrKEK, err)
	}
	return "file:" + hex.EncodeToString(id), nil
}

// Wrap implements KEK.
func (f fileKEK) Wrap(_ context.Context, _ string, plaintext, additional []byte) ([]byte, error) {
	key, err := f.load()
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return encrypt(key, plaintext, additional)
}

// Unwrap implements KEK.
func (f fileKEK) Unwrap(_ context.Context, _ string, wrapped, additional []byte) ([]byte, error) {
	key, err := f.load()
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return decrypt(key, wrapped, additional)
}
