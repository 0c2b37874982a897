package seal

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
)

// record is the keyring as the state holds it.
type record struct {
	Version int               `json:"version"`
	Wraps   map[string][]byte `json:"wraps"` // key-encryption key's ID → wrapped root key
	Keys    []byte            `json:"keys"`  // data keys, sealed by the root key
}

const keyringVersion = 1

func encodeRecord(r record) ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode keyring: %w", err)
	}
	return b, nil
}

func decodeRecord(b []byte) (record, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("keyring: %w: %w", ErrOpen, err)
	}
	if r.Version != keyringVersion {
		return r, fmt.Errorf("keyring of version %d, this program knows %d: %w", r.Version, keyringVersion, ErrOpen)
	}
	return r, nil
}

// dataKey lies behind two pointers, of which fmt follows one at most: what
// prints the bare structure, with whatever verb, prints addresses.
type dataKey struct{ bytes *[KeySize]byte }

// dataKeys are the data keys by term.
type dataKeys map[uint32]*dataKey

const dataKeyBytes = termBytes + KeySize

// encode is the current term, then each term with its key, ascending. It is no
// JSON, whose encoder would keep copies of the keys that nobody zeroes.
func (d dataKeys) encode(current uint32) []byte {
	terms := make([]uint32, 0, len(d))
	for term := range d {
		terms = append(terms, term)
	}
	slices.Sort(terms)
	b := make([]byte, 0, termBytes+len(d)*dataKeyBytes) // never grows: that would leave a copy
	b = binary.BigEndian.AppendUint32(b, current)
	for _, term := range terms {
		b = append(binary.BigEndian.AppendUint32(b, term), d[term].bytes[:]...)
	}
	return b
}

func decodeDataKeys(b []byte) (current uint32, keys dataKeys, err error) {
	if len(b) < termBytes || (len(b)-termBytes)%dataKeyBytes != 0 {
		return 0, nil, fmt.Errorf("data keys of %d bytes: %w", len(b), ErrOpen)
	}
	current, keys = binary.BigEndian.Uint32(b), make(dataKeys)
	for entry := range slices.Chunk(b[termBytes:], dataKeyBytes) {
		keys[binary.BigEndian.Uint32(entry)] = &dataKey{bytes: (*[KeySize]byte)(slices.Clone(entry[termBytes:]))}
	}
	if keys[current] == nil {
		return 0, nil, fmt.Errorf("no data key of the current term %d: %w", current, ErrOpen)
	}
	return current, keys, nil
}
