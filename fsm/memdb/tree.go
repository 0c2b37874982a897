package memdb

import (
	"bytes"
	"encoding/binary"
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

func compare(a, b *entry) int {
	switch {
	case a.begin < b.begin:
		return -1
	case a.begin > b.begin:
		return 1
	}
	return bytes.Compare(a.key, b.key)
}

// tree is one index: a B-tree whose nodes are copied when they are changed, unless the
// tree made them itself. Trees that were made visible are never changed.
type tree struct {
	root *node
	size int
	own  *owner
}

// owner is whose nodes may be changed in place. It is not empty, so that two differ.
type owner struct{ _ byte }

// node has entries in order; in a node that is no leaf the child n is what lies before
// the entry n, and the last child what lies behind all of them.
type node struct {
	own      *owner
	entries  []entry
	children []*node
}

// A node has so many entries, the root fewer: what a change copies stays small.
const (
	mostEntries  = 31
	leastEntries = mostEntries / 2
)

func newTree() *tree { return &tree{own: &owner{}} }

// Clone returns another tree of the same entries: either can be changed without the other.
func (t *tree) Clone() *tree {
	t.own = &owner{} // what both have is nobody's any more
	return &tree{root: t.root, size: t.size, own: &owner{}}
}

// Len is how many entries there are.
func (t *tree) Len() int { return t.size }

// find returns the place of the first entry that is not less, and whether it is the same.
func (n *node) find(e *entry) (int, bool) {
	low, high := 0, len(n.entries)
	for low < high {
		middle := int(uint(low+high) >> 1)
		switch c := compare(&n.entries[middle], e); {
		case c < 0:
			low = middle + 1
		case c > 0:
			high = middle
		default:
			return middle, true
		}
	}
	return low, false
}

// Get returns the entry with this key.
func (t *tree) Get(e entry) (entry, bool) {
	for n := t.root; n != nil; {
		at, found := n.find(&e)
		if found {
			return n.entries[at], true
		}
		if len(n.children) == 0 {
			break
		}
		n = n.children[at]
	}
	return entry{}, false
}

// Min returns the first entry.
func (t *tree) Min() (entry, bool) {
	if t.size == 0 {
		return entry{}, false
	}
	n := t.root
	for len(n.children) > 0 {
		n = n.children[0]
	}
	return n.entries[0], true
}

// Max returns the last entry.
func (t *tree) Max() (entry, bool) {
	if t.size == 0 {
		return entry{}, false
	}
	n := t.root
	for len(n.children) > 0 {
		n = n.children[len(n.children)-1]
	}
	return n.entries[len(n.entries)-1], true
}

// AscendGreaterOrEqual calls yield for the entries that are not less, in order, until it
// returns false.
func (t *tree) AscendGreaterOrEqual(from entry, yield func(entry) bool) {
	if t.root != nil {
		t.root.ascend(&from, yield)
	}
}

// ascend begins with the first entry of all where from is nil.
func (n *node) ascend(from *entry, yield func(entry) bool) bool {
	at, found := 0, false
	if from != nil {
		at, found = n.find(from)
	}
	if found {
		from = nil
	}
	for ; at < len(n.entries); at++ {
		if len(n.children) > 0 && !found && !n.children[at].ascend(from, yield) {
			return false
		}
		if !yield(n.entries[at]) {
			return false
		}
		from, found = nil, false
	}
	return len(n.children) == 0 || n.children[at].ascend(from, yield)
}

// changeable returns the node itself, or a copy if it is another tree's.
func (n *node) changeable(own *owner) *node {
	if n.own == own {
		return n
	}
	c := &node{own: own, entries: make([]entry, len(n.entries), mostEntries)}
	copy(c.entries, n.entries)
	if len(n.children) > 0 {
		c.children = make([]*node, len(n.children), mostEntries+1)
		copy(c.children, n.children)
	}
	return c
}

// child returns a child that may be changed.
func (n *node) child(at int) *node {
	n.children[at] = n.children[at].changeable(n.own)
	return n.children[at]
}
