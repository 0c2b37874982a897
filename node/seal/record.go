package seal

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// record is the keyring as the state holds it.
type record struct {
	Version int             `json:"version"`
	Wraps   map[string]wrap `json:"wraps"` // by the ID of the key-encryption key
	Keys    []byte          `json:"keys"`  // data keys, sealed by the root key
	// Removed are the IDs of keys that were removed, the newest last, so that one that
	// leaked is not added again by a slip.
	Removed []string `json:"removed,omitempty"`
}

// maxRemoved bounds how many removed keys are remembered.
const maxRemoved = 64

// wrap is the root key, wrapped by one key-encryption key.
type wrap struct {
	Root []byte `json:"root"`
	// Public and Version are the key's [Identity] when the root key was wrapped.
	Public  []byte `json:"public,omitempty"`
	Version string `json:"version,omitempty"`
}

// identity is the key-encryption key as it was when the root key was wrapped.
func (w wrap) identity(id string) Identity {
	return Identity{ID: id, Public: w.Public, Version: w.Version}
}

// Versions of the record. The first had nothing but wrapped root keys.
const (
	firstKeyring   = 1
	keyringVersion = 2
)

func encodeRecord(r record) ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode keyring: %w", err)
	}
	return b, nil
}

func decodeRecord(b []byte) (record, error) {
	var head struct {
		Version int `json:"version"`
	}
	var r record
	err := json.Unmarshal(b, &head)
	switch {
	case err != nil:
	case head.Version == firstKeyring:
		r, err = decodeFirst(b)
	case head.Version == keyringVersion:
		err = json.Unmarshal(b, &r)
	default:
		return r, fmt.Errorf("keyring of version %d, this program knows %d: %w", head.Version, keyringVersion, ErrOpen)
	}
	if err != nil {
		return r, fmt.Errorf("keyring: %w: %w", ErrOpen, err)
	}
	return r, nil
}

// decodeFirst reads a record of the first version.
func decodeFirst(b []byte) (record, error) {
	var old struct {
		Wraps map[string][]byte `json:"wraps"`
		Keys  []byte            `json:"keys"`
	}
	if err := json.Unmarshal(b, &old); err != nil {
		return record{}, err //nolint:wrapcheck // the caller says what it is
	}
	r := record{Version: firstKeyring, Wraps: make(map[string]wrap, len(old.Wraps)), Keys: old.Keys}
	for id, root := range old.Wraps {
		r.Wraps[id] = wrap{Root: root}
	}
	return r, nil
}

// bound is the additional data of the data keys: the cluster, and everything in
// the record that is not secret. Whoever can write the record but has not the
// root key can not put a public key of his own into it, for which the next root
// key would be wrapped.
func (r record) bound(clusterID string) []byte {
	if r.Version == firstKeyring {
		return additional("data-keys", clusterID)
	}
	var parts []string
	for _, id := range slices.Sorted(maps.Keys(r.Wraps)) {
		parts = append(parts, id, string(r.Wraps[id].Public), r.Wraps[id].Version)
	}
	parts = append(parts, "removed")
	parts = append(parts, r.Removed...)
	sum := sha256.Sum256(additional(parts...))
	return additional("data-keys", clusterID, string(sum[:]))
}
