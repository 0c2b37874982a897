package memdb

import (
	"bytes"
	"slices"
)

// pending is what was appended to a table, and is not in its indexes yet.
type pending struct {
	indexes []pile
	// unsorted are those whose entries did not come in order.
	unsorted []bool
}

// pile is a list that is never copied while it grows.
type pile struct {
	full [][]entry
	list []entry
}

const pileEntries = 4096 // at most in one piece

func (p *pile) add(e entry) {
	if len(p.list) == cap(p.list) && len(p.list) > 0 {
		p.full = append(p.full, p.list)
		p.list = make([]entry, 0, min(2*cap(p.list), pileEntries))
	}
	p.list = append(p.list, e)
}

func (p *pile) last() *entry {
	if len(p.list) == 0 {
		return nil
	}
	return &p.list[len(p.list)-1]
}

func (p *pile) all() []entry {
	if len(p.full) == 0 {
		return p.list
	}
	return slices.Concat(append(p.full, p.list)...)
}

// Append is [Txn.Insert] for many rows of a table that was empty, in the order of their
// IDs: its indexes are made in one go as soon as anything of it is looked at. Rows that
// do not come like that are inserted one by one.
func (t *Txn) Append(tableName string, row any) error {
	c, err := t.changing(tableName)
	if err != nil {
		return err
	}
	s := c.table.layout
	if c.table.indexes[0].Len() > 0 {
		return t.Insert(tableName, row)
	}
	id, _, err := s.indexes[0].key(s.name, row)
	if err != nil {
		return err
	}
	if c.pending == nil {
		c.pending = &pending{indexes: make([]pile, len(s.indexes)), unsorted: make([]bool, len(s.indexes))}
	}
	first := entryOf(id, row)
	if last := c.pending.indexes[0].last(); last != nil && compare(last, &first) >= 0 {
		return t.Insert(tableName, row)
	}
	var keys [8]entry
	all := append(keys[:0], first)
	for _, x := range s.indexes[1:] {
		key, in, err := x.key(s.name, row)
		if err != nil {
			return err
		}
		e := entry{}
		if in {
			e = entryOf(key, row)
		}
		all = append(all, e)
	}
	c.pending.add(all)
	t.touch(c, id)
	return nil
}

// add adds a row's entries; those without a row are in no index.
func (p *pending) add(all []entry) {
	for n := range all {
		if all[n].row == nil {
			continue
		}
		if last := p.indexes[n].last(); last != nil && compare(last, &all[n]) >= 0 {
			p.unsorted[n] = true
		}
		p.indexes[n].add(all[n])
	}
}

// settle makes the indexes of what was appended.
func (c *change) settle() {
	if c.pending == nil {
		return
	}
	p := c.pending
	c.pending = nil
	for n := range p.indexes {
		list := p.indexes[n].all()
		p.indexes[n] = pile{}
		if p.unsorted[n] {
			slices.SortStableFunc(list, func(a, b entry) int { return compare(&a, &b) })
			list = lastOfEach(list)
		}
		c.table.indexes[n], c.own[n] = buildTree(list), true
	}
}

// lastOfEach leaves the last of those that have the same key.
func lastOfEach(list []entry) []entry {
	kept := list[:0]
	for i := range list {
		if last := len(kept) - 1; last >= 0 && kept[last].begin == list[i].begin && bytes.Equal(kept[last].key, list[i].key) {
			kept[last] = list[i]
			continue
		}
		kept = append(kept, list[i])
	}
	return kept
}
