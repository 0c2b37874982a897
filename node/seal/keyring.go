package seal

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
)

// Keyring is the data keys of a cluster in the clear. It exists only in the
// memory of an unsealed node and prints as redacted.
type Keyring struct {
	clusterID string
	current   uint32
	keys      dataKeys
}

const termBytes = 4 // in front of every ciphertext: which data key it is under

// errNoCluster says that a keyring was to be made or opened for no cluster in
// particular; it would open in every other.
var errNoCluster = errors.New("keyring without a cluster ID")

// NewKeyring mints a root key and a first data key, and returns the record to
// be replicated. The record becomes the cluster's keyring only if no other was
// there before it.
func NewKeyring(ctx context.Context, kek KEK, clusterID string) ([]byte, error) {
	root, first := make([]byte, KeySize), new([KeySize]byte)
	defer clear(root)
	defer clear(first[:])
	_, _ = rand.Read(root) // never fails
	_, _ = rand.Read(first[:])
	record, err := sealKeyring(ctx, kek, clusterID, root, 1, dataKeys{1: {bytes: first}})
	if err != nil {
		return nil, fmt.Errorf("new keyring: %w", err)
	}
	return record, nil
}

func sealKeyring(ctx context.Context, kek KEK, clusterID string, root []byte, current uint32, keys dataKeys) ([]byte, error) {
	if clusterID == "" {
		return nil, errNoCluster
	}
	identity, err := kek.Identify(ctx, clusterID)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it is
	}
	id := identity.ID
	wrapped, err := kek.Wrap(ctx, clusterID, root, additional("root-key", clusterID, id))
	if err != nil {
		return nil, fmt.Errorf("wrap root key: %w", err)
	}
	plain := keys.encode(current)
	defer clear(plain)
	sealed, err := encrypt(root, plain, additional("data-keys", clusterID))
	if err != nil {
		return nil, fmt.Errorf("seal data keys: %w", err)
	}
	return encodeRecord(record{Version: keyringVersion, Wraps: map[string][]byte{id: wrapped}, Keys: sealed})
}

// openKeyring unwraps the record with the key-encryption key.
func openKeyring(ctx context.Context, kek KEK, clusterID string, encoded []byte) (*Keyring, error) {
	if clusterID == "" {
		return nil, errNoCluster
	}
	r, err := decodeRecord(encoded)
	if err != nil {
		return nil, err
	}
	identity, err := kek.Identify(ctx, clusterID)
	if err != nil {
		return nil, fmt.Errorf("open keyring: %w", err)
	}
	id := identity.ID
	wrapped, ok := r.Wraps[id]
	if !ok {
		return nil, fmt.Errorf("open keyring: %w, this one is %s", ErrNotWrapped, id)
	}
	root, err := kek.Unwrap(ctx, clusterID, wrapped, additional("root-key", clusterID, id))
	if err != nil {
		return nil, fmt.Errorf("unwrap root key: %w", err)
	}
	defer clear(root)
	plain, err := decrypt(root, r.Keys, additional("data-keys", clusterID))
	if err != nil {
		return nil, fmt.Errorf("open data keys: %w", err)
	}
	defer clear(plain)
	current, keys, err := decodeDataKeys(plain)
	if err != nil {
		return nil, err
	}
	return &Keyring{clusterID: clusterID, current: current, keys: keys}, nil
}

// Seal encrypts the record of this kind and ID under the current data key.
func (k *Keyring) Seal(kind, id string, plaintext []byte) ([]byte, error) {
	ciphertext, err := encrypt(k.keys[k.current].bytes[:], plaintext, additional("record", k.clusterID, kind, id))
	if err != nil {
		return nil, fmt.Errorf("seal %s %s: %w", kind, id, err)
	}
	return append(binary.BigEndian.AppendUint32(nil, k.current), ciphertext...), nil
}

// Open decrypts what Seal made for the same kind and ID; the error wraps
// [ErrOpen] if it is anything else. The caller zeroes the plaintext.
func (k *Keyring) Open(kind, id string, sealed []byte) ([]byte, error) {
	if len(sealed) < termBytes {
		return nil, fmt.Errorf("open %s %s: %w", kind, id, ErrOpen)
	}
	term := binary.BigEndian.Uint32(sealed)
	key, ok := k.keys[term]
	if !ok {
		return nil, fmt.Errorf("open %s %s: no data key of term %d: %w", kind, id, term, ErrOpen)
	}
	plaintext, err := decrypt(key.bytes[:], sealed[termBytes:], additional("record", k.clusterID, kind, id))
	if err != nil {
		return nil, fmt.Errorf("open %s %s: %w", kind, id, err)
	}
	return plaintext, nil
}

// The receivers below are values, so that a copy of a keyring is redacted too.

// String redacts the keys.
func (k Keyring) String() string { return "Keyring([redacted])" }

// GoString redacts the keys.
func (k Keyring) GoString() string { return k.String() }

// Format redacts the keys for every verb.
func (k Keyring) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, k.String()) }

// LogValue redacts the keys.
func (k Keyring) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON redacts the keys.
func (k Keyring) MarshalJSON() ([]byte, error) { return json.Marshal(k.String()) } //nolint:wrapcheck // can not fail
