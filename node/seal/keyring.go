package seal

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
)

// Keyring is the data keys of a cluster in the clear. It exists only in the
// memory of an unsealed node and prints as redacted.
type Keyring struct {
	clusterID string
	current   uint32
	keys      map[uint32][]byte
}

// sealedKeyring is the keyring as the state holds it.
type sealedKeyring struct {
	Version int               `json:"version"`
	Wraps   map[string][]byte `json:"wraps"` // key-encryption key's ID → wrapped root key
	Keys    []byte            `json:"keys"`  // data keys, sealed by the root key
}

type dataKeys struct {
	Current uint32            `json:"current"`
	Keys    map[uint32][]byte `json:"keys"`
}

const keyringVersion = 1

// newKeyring mints a root key and a first data key, and returns the record to
// be replicated. The record becomes the cluster's keyring only if no other was
// there before it.
func newKeyring(kek KEK, clusterID string) ([]byte, error) {
	root, first := make([]byte, KeySize), make([]byte, KeySize)
	defer clear(root)
	defer clear(first)
	_, _ = rand.Read(root) // never fails
	_, _ = rand.Read(first)
	id, err := kek.ID()
	if err != nil {
		return nil, fmt.Errorf("new keyring: %w", err)
	}
	wrapped, err := kek.Wrap(root, additional("root-key", clusterID, id))
	if err != nil {
		return nil, fmt.Errorf("new keyring: %w", err)
	}
	plain, err := json.Marshal(dataKeys{Current: 1, Keys: map[uint32][]byte{1: first}})
	if err != nil {
		return nil, fmt.Errorf("new keyring: %w", err)
	}
	defer clear(plain)
	keys, err := encrypt(root, plain, additional("data-keys", clusterID))
	if err != nil {
		return nil, fmt.Errorf("new keyring: %w", err)
	}
	return json.Marshal(sealedKeyring{Version: keyringVersion, Wraps: map[string][]byte{id: wrapped}, Keys: keys}) //nolint:wrapcheck // can not fail
}

// openKeyring unwraps the record with the key-encryption key.
func openKeyring(kek KEK, clusterID string, record []byte) (*Keyring, error) {
	var s sealedKeyring
	if err := json.Unmarshal(record, &s); err != nil || s.Version != keyringVersion {
		return nil, fmt.Errorf("keyring of version %d: %w", s.Version, ErrOpen)
	}
	id, err := kek.ID()
	if err != nil {
		return nil, fmt.Errorf("open keyring: %w", err)
	}
	wrapped, ok := s.Wraps[id]
	if !ok {
		return nil, fmt.Errorf("open keyring: %w %s is not one that wraps the root key", ErrKEK, id)
	}
	root, err := kek.Unwrap(wrapped, additional("root-key", clusterID, id))
	if err != nil {
		return nil, fmt.Errorf("unwrap root key: %w", err)
	}
	defer clear(root)
	plain, err := decrypt(root, s.Keys, additional("data-keys", clusterID))
	if err != nil {
		return nil, fmt.Errorf("open data keys: %w", err)
	}
	defer clear(plain)
	var d dataKeys
	if err := json.Unmarshal(plain, &d); err != nil || len(d.Keys[d.Current]) != KeySize {
		return nil, fmt.Errorf("data keys: %w", ErrOpen)
	}
	return &Keyring{clusterID: clusterID, current: d.Current, keys: d.Keys}, nil
}

// Seal encrypts the record of this kind and ID under the current data key.
func (k *Keyring) Seal(kind, id string, plaintext []byte) ([]byte, error) {
	ciphertext, err := encrypt(k.keys[k.current], plaintext, additional("record", k.clusterID, kind, id))
	if err != nil {
		return nil, fmt.Errorf("seal %s %s: %w", kind, id, err)
	}
	return append(binary.BigEndian.AppendUint32(nil, k.current), ciphertext...), nil
}

// Open decrypts what Seal made for the same kind and ID. The caller zeroes it.
func (k *Keyring) Open(kind, id string, sealed []byte) ([]byte, error) {
	if len(sealed) < 4 {
		return nil, fmt.Errorf("open %s %s: %w", kind, id, ErrOpen)
	}
	key, ok := k.keys[binary.BigEndian.Uint32(sealed)]
	if !ok {
		return nil, fmt.Errorf("open %s %s: no data key of term %d: %w", kind, id, binary.BigEndian.Uint32(sealed), ErrOpen)
	}
	plaintext, err := decrypt(key, sealed[4:], additional("record", k.clusterID, kind, id))
	if err != nil {
		return nil, fmt.Errorf("open %s %s: %w", kind, id, err)
	}
	return plaintext, nil
}

// String redacts the keys.
func (k *Keyring) String() string { return "Keyring([redacted])" }

// GoString redacts the keys.
func (k *Keyring) GoString() string { return k.String() }

// Format redacts the keys for every verb.
func (k *Keyring) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, k.String()) }

// LogValue redacts the keys.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON redacts the keys.
func (k *Keyring) MarshalJSON() ([]byte, error) { return json.Marshal(k.String()) } //nolint:wrapcheck // can not fail
