package backup

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"log/slog"
)

// Key authenticates one file. It prints as redacted.
type Key struct{ inner *[sha256.Size]byte }

// NewKey derives the key of a file (HKDF-SHA256, RFC 5869) from the cluster's secret
// for backups and the ID in the file's manifest. The secret remains the caller's.
func NewKey(secret []byte, clusterID, fileID string) (Key, error) {
	b, err := hkdf.Key(sha256.New, secret, []byte(clusterID), "keysteward backup file 1 "+fileID, sha256.Size)
	if err != nil {
		return Key{}, fmt.Errorf("key of backup %s: %w", fileID, err)
	}
	defer clear(b)
	return Key{inner: (*[sha256.Size]byte)(append([]byte(nil), b...))}, nil
}

// String redacts the key.
func (Key) String() string { return "[redacted]" }

// GoString redacts the key.
func (k Key) GoString() string { return k.String() }

// Format redacts the key for every verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, k.String()) }

// LogValue redacts the key.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON redacts the key.
func (Key) MarshalJSON() ([]byte, error) { return []byte(`"[redacted]"`), nil }

// chain makes each tag of a file from the one before.
type chain struct {
	mac  hash.Hash
	last [sha256.Size]byte
}

func newChain(key Key) *chain { return &chain{mac: hmac.New(sha256.New, key.inner[:])} }

// next is the tag of a part; before is what the first one covers besides.
func (c *chain) next(before string, head uint32, part []byte) []byte {
	c.mac.Reset()
	_, _ = c.mac.Write(c.last[:])
	_, _ = c.mac.Write([]byte(before))
	_, _ = c.mac.Write(binary.BigEndian.AppendUint32(nil, head))
	_, _ = c.mac.Write(part)
	c.mac.Sum(c.last[:0])
	return c.last[:]
}
