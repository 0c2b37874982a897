package seal

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
)

const termBytes = 4 // in front of every ciphertext: which data key it is under

func newDataKey() *secretBytes {
	key := make([]byte, KeySize)
	_, _ = rand.Read(key) // never fails
	return takeSecret(key)
}

// dataKeys are the data keys by term.
type dataKeys map[uint32]*secretBytes

const dataKeyBytes = termBytes + KeySize

// encode is the current term, then each term with its key, ascending. It is no
// JSON, whose encoder would keep copies of the keys that nobody zeroes.
func (d dataKeys) encode(current uint32) ([]byte, error) {
	b := make([]byte, 0, termBytes+len(d)*dataKeyBytes) // never grows: that would leave a copy
	b = binary.BigEndian.AppendUint32(b, current)
	for _, term := range d.terms() {
		err := d[term].use(func(key []byte) error {
			b = append(binary.BigEndian.AppendUint32(b, term), key...)
			return nil
		})
		if err != nil {
			clear(b)
			return nil, fmt.Errorf("data key of term %d: %w", term, err)
		}
	}
	return b, nil
}

// terms are those that there are keys of, ascending.
func (d dataKeys) terms() []uint32 {
	terms := make([]uint32, 0, len(d))
	for term := range d {
		terms = append(terms, term)
	}
	slices.Sort(terms)
	return terms
}

func decodeDataKeys(b []byte) (current uint32, keys dataKeys, err error) {
	if len(b) < termBytes || (len(b)-termBytes)%dataKeyBytes != 0 {
		return 0, nil, fmt.Errorf("data keys of %d bytes: %w", len(b), ErrOpen)
	}
	current, keys = binary.BigEndian.Uint32(b), make(dataKeys)
	for entry := range slices.Chunk(b[termBytes:], dataKeyBytes) {
		keys[binary.BigEndian.Uint32(entry)] = takeSecret(slices.Clone(entry[termBytes:]))
	}
	if keys[current] == nil {
		return 0, nil, fmt.Errorf("no data key of the current term %d: %w", current, ErrOpen)
	}
	return current, keys, nil
}
