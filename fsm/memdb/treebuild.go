package memdb

// buildTree makes a tree of entries that are in order, all with different keys. Its nodes
// are nearly full: it takes half of the memory, and a small part of the time, of adding
// one after the other.
func buildTree(entries []entry) *tree {
	t := &tree{size: len(entries), own: &owner{}}
	if t.size == 0 {
		return t
	}
	most := mostEntries // of a tree of that height
	for most < t.size {
		most = (most+1)*(mostEntries+1) - 1
	}
	t.root = buildNode(t.own, entries, most)
	return t
}

// buildNode makes a node, and all below it, of entries of which there are no more than most.
func buildNode(own *owner, entries []entry, most int) *node {
	n := &node{own: own}
	if most == mostEntries {
		n.entries = append(n.entries, entries...)
		return n
	}
	below := (most+1)/(mostEntries+1) - 1 // as many as a child may have
	parts := (len(entries) + 1 + below) / (below + 1)
	n.entries = make([]entry, 0, parts-1)
	n.children = make([]*node, 0, parts)
	for left := parts; left > 0; left-- {
		size := (len(entries)+1)/left - 1
		n.children = append(n.children, buildNode(own, entries[:size], below))
		if left > 1 {
			n.entries = append(n.entries, entries[size])
			entries = entries[size+1:]
		}
	}
	return n
}
