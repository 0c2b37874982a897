package keystore

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

const manifestVersion = 1

// file is a file to be written; its name has slashes and is relative to the destination.
type file struct {
	name string
	data []byte
}

// manifest says what a complete folder holds. It has no secrets.
type manifest struct {
	Version    int                   `json:"version"`
	Layout     Layout                `json:"layout"`
	PublicKeys []validator.PublicKey `json:"publicKeys"` // sorted
	Files      map[string]string     `json:"files"`      // SHA-256 in hexadecimal by name
	// Revoked were taken out. What validator clients keep beside a keystore may still
	// bear their names.
	Revoked []validator.PublicKey `json:"revoked,omitempty"`
}

// readManifest returns nil without an error if there is none.
func readManifest(folder string) (*manifest, error) {
	raw, err := os.ReadFile(filepath.Join(folder, ManifestFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil //nolint:nilnil // no manifest is an ordinary answer
	}
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	var m manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("%w: its manifest %s is unreadable: %w", ErrOccupied, filepath.Join(folder, ManifestFile), err)
	}
	if m.Version != manifestVersion {
		return nil, fmt.Errorf("%w: its manifest has version %d, want %d", ErrOccupied, m.Version, manifestVersion)
	}
	for name := range m.Files {
		if !filepath.IsLocal(name) {
			return nil, fmt.Errorf("%w: its manifest names %q, outside of the folder", ErrOccupied, name)
		}
	}
	return &m, nil
}

// encode returns the manifest as JSON for people to read.
func (m *manifest) encode() ([]byte, error) {
	slices.SortFunc(m.PublicKeys, func(a, b validator.PublicKey) int { return bytes.Compare(a[:], b[:]) })
	return json.MarshalIndent(m, "", "  ")
}

// digest is how a manifest names a file's content.
func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// intact tells whether a file is a plain one with this digest.
func intact(path, want string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxFileSize {
		return false
	}
	data, err := os.ReadFile(path)
	return err == nil && digest(data) == want
}

// maxFileSize bounds what is read of any file: a wallet of 100,000 keys is far below.
const maxFileSize = 64 << 20
