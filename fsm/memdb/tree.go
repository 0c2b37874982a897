package memdb

import (
	"bytes"
	"encoding/binary"

	"github.com/google/btree"
)

// entry is a row in an index.
type entry struct {
	// begin is the first eight bytes of the key: most comparisons need no more, and then
	// no other place of the memory is touched.
	begin uint64
	key   []byte
	row   any
}

func entryOf(key []byte, row any) entry {
	e := entry{key: key, row: row}
	if len(key) >= 8 { //nolint:mnd // bytes of a number
		e.begin = binary.BigEndian.Uint64(key)
		return e
	}
	var begin [8]byte
	copy(begin[:], key)
	e.begin = binary.BigEndian.Uint64(begin[:])
	return e
}

func less(a, b entry) bool {
	if a.begin != b.begin {
		return a.begin < b.begin
	}
	return bytes.Compare(a.key, b.key) < 0
}

// tree is one index. Trees that were made visible are never changed.
type tree = btree.BTreeG[entry]

// degree makes nodes of up to 31 entries: what a change copies stays small.
const degree = 16

func newTree() *tree { return btree.NewG(degree, less) }
