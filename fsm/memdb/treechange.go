package memdb

import "slices"

// ReplaceOrInsert adds an entry, in the place of one with the same key if there is one.
func (t *tree) ReplaceOrInsert(e entry) {
	if t.root == nil {
		t.root = &node{own: t.own}
	}
	t.root = t.root.changeable(t.own)
	if len(t.root.entries) == mostEntries {
		middle, right := t.root.split()
		t.root = &node{own: t.own, entries: append(make([]entry, 0, mostEntries), middle), children: append(make([]*node, 0, mostEntries+1), t.root, right)}
	}
	if !t.root.insert(e) {
		t.size++
	}
}

// split leaves the lower half of a full node, and returns the entry behind it and the rest.
func (n *node) split() (entry, *node) {
	const at = mostEntries / 2
	middle := n.entries[at]
	right := &node{own: n.own, entries: append(make([]entry, 0, mostEntries), n.entries[at+1:]...)}
	clear(n.entries[at:])
	n.entries = n.entries[:at]
	if len(n.children) > 0 {
		right.children = append(make([]*node, 0, mostEntries+1), n.children[at+1:]...)
		clear(n.children[at+1:])
		n.children = n.children[:at+1]
	}
	return middle, right
}

// insert adds an entry below a node that is not full, and reports whether it took the
// place of another.
func (n *node) insert(e entry) bool {
	for {
		at, found := n.find(&e)
		if found {
			n.entries[at] = e
			return true
		}
		if len(n.children) == 0 {
			n.entries = slices.Insert(n.entries, at, e)
			return false
		}
		if c := n.child(at); len(c.entries) == mostEntries {
			middle, right := c.split()
			n.entries = slices.Insert(n.entries, at, middle)
			n.children = slices.Insert(n.children, at+1, right)
			continue // the place may be the middle's, or on its other side
		}
		n = n.children[at]
	}
}

// Delete takes the entry with this key away and returns it.
func (t *tree) Delete(e entry) (entry, bool) {
	if _, found := t.Get(e); !found { // nothing is copied for nothing
		return entry{}, false
	}
	t.root = t.root.changeable(t.own)
	out := t.root.remove(&e)
	t.size--
	switch {
	case len(t.root.entries) > 0:
	case len(t.root.children) > 0:
		t.root = t.root.children[0]
	default:
		t.root = nil
	}
	return out, true
}

// remove takes an entry away that is there, or the last one of all if e is nil. The node
// is the root, or has more than leastEntries.
func (n *node) remove(e *entry) entry {
	for {
		at, found := len(n.entries), false
		if e != nil {
			at, found = n.find(e)
		}
		switch {
		case len(n.children) == 0:
			if e == nil {
				at--
			}
			out := n.entries[at]
			n.entries = slices.Delete(n.entries, at, at+1)
			return out
		case len(n.children[at].entries) <= leastEntries:
			n.fill(at) // and look again: the entry may be another node's now
		case found:
			out := n.entries[at]
			n.entries[at] = n.child(at).remove(nil) // the one before it
			return out
		default:
			n = n.child(at)
		}
	}
}

// fill gives a child an entry of a child beside it, or makes one of both.
func (n *node) fill(at int) {
	switch {
	case at > 0 && len(n.children[at-1].entries) > leastEntries:
		left, c := n.child(at-1), n.child(at)
		last := len(left.entries) - 1
		c.entries = slices.Insert(c.entries, 0, n.entries[at-1])
		n.entries[at-1] = left.entries[last]
		left.entries = slices.Delete(left.entries, last, last+1)
		if len(left.children) > 0 {
			c.children = slices.Insert(c.children, 0, left.children[last+1])
			left.children = slices.Delete(left.children, last+1, last+2)
		}
	case at < len(n.entries) && len(n.children[at+1].entries) > leastEntries:
		c, right := n.child(at), n.child(at+1)
		c.entries = append(c.entries, n.entries[at])
		n.entries[at] = right.entries[0]
		right.entries = slices.Delete(right.entries, 0, 1)
		if len(right.children) > 0 {
			c.children = append(c.children, right.children[0])
			right.children = slices.Delete(right.children, 0, 1)
		}
	default:
		if at == len(n.entries) {
			at--
		}
		c, right := n.child(at), n.children[at+1]
		c.entries = append(append(c.entries, n.entries[at]), right.entries...)
		c.children = append(c.children, right.children...)
		n.entries = slices.Delete(n.entries, at, at+1)
		n.children = slices.Delete(n.children, at+1, at+2)
	}
}
