package seal

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Keyring is the data keys of a cluster in the clear. It exists only in the
// memory of an unsealed node and prints as redacted.
type Keyring struct {
	clusterID string
	current   uint32
	keys      dataKeys
	backups   *secretBytes // what the keys of backups are derived from
}

// Seal encrypts the record of this kind and ID under the current data key.
func (k *Keyring) Seal(kind, id string, plaintext []byte) ([]byte, error) {
	sealed := binary.BigEndian.AppendUint32(nil, k.current)
	err := k.keys[k.current].use(func(key []byte) error {
		ciphertext, err := encrypt(key, plaintext, additional("record", k.clusterID, kind, id))
		sealed = append(sealed, ciphertext...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("seal %s %s: %w", kind, id, err)
	}
	return sealed, nil
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
	var plaintext []byte
	err := key.use(func(key []byte) (err error) {
		plaintext, err = decrypt(key, sealed[termBytes:], additional("record", k.clusterID, kind, id))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open %s %s: %w", kind, id, err)
	}
	return plaintext, nil
}

// opensAll tells whether there is a data key for every term under which something is
// sealed. It lacks one if it is of long ago, as on a node that reads the log again.
func (k *Keyring) opensAll(state *fsmpb.SealState) bool {
	for _, t := range state.GetTerms() {
		if _, ok := k.keys[t.GetTerm()]; !ok && t.GetRecords() > 0 {
			return false
		}
	}
	return true
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
