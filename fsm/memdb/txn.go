package memdb

import (
	"bytes"
	"fmt"
	"slices"
)

// Txn sees the tables as they were when it began, with what it changed itself. One that
// only reads may be used by several goroutines, and needs no end.
type Txn struct {
	db     *MemDB
	tables []*table
	// write has what was changed, by table; nil if the transaction only reads or is over.
	write []*change
}

// change is what a transaction changes of one table.
type change struct {
	table *table
	own   []bool // indexes that are the transaction's own already
	rows  map[int]struct{}
	// pending was appended; nil if nothing was.
	pending *pending
}

func (t *Txn) table(name string) (*table, int, error) {
	n, ok := t.db.layout.tables[name]
	if !ok {
		return nil, 0, fmt.Errorf("%w: %s", ErrTable, name)
	}
	if t.write != nil && t.write[n] != nil {
		t.write[n].settle()
		return t.write[n].table, n, nil
	}
	return t.tables[n], n, nil
}

// index returns an index as the transaction sees it, and whether it is its own.
func (t *Txn) index(tableName, index string) (rows *tree, own bool, err error) {
	tab, at, err := t.table(tableName)
	if err != nil {
		return nil, false, err
	}
	n, err := tab.layout.number(index)
	if err != nil {
		return nil, false, err
	}
	return tab.indexes[n], t.write != nil && t.write[at] != nil && t.write[at].own[n], nil
}

// First returns the row with this key in the index, nil if there is none.
func (t *Txn) First(tableName, index string, key []byte) (any, error) {
	rows, _, err := t.index(tableName, index)
	if err != nil {
		return nil, err
	}
	e, _ := rows.Get(entryOf(key, nil))
	return e.row, nil
}

// Lowest returns the first row of an index, nil if it is empty.
func (t *Txn) Lowest(tableName, index string) (any, error) {
	rows, _, err := t.index(tableName, index)
	if err != nil {
		return nil, err
	}
	e, _ := rows.Min()
	return e.row, nil
}

// Len is how many rows an index has.
func (t *Txn) Len(tableName, index string) (int, error) {
	rows, _, err := t.index(tableName, index)
	if err != nil {
		return 0, err
	}
	return rows.Len(), nil
}

// Ascend calls yield for the rows of an index in the order of their keys, from the first
// that is not less than from, until it returns false. What yield itself changes is not
// seen by the iteration.
func (t *Txn) Ascend(tableName, index string, from []byte, yield func(row any) bool) error {
	return t.ascend(tableName, index, from, func(e entry) bool { return yield(e.row) })
}

// Prefix is [Txn.Ascend] over the rows whose keys begin with prefix.
func (t *Txn) Prefix(tableName, index string, prefix []byte, yield func(row any) bool) error {
	return t.ascend(tableName, index, prefix, func(e entry) bool { return bytes.HasPrefix(e.key, prefix) && yield(e.row) })
}

func (t *Txn) ascend(tableName, index string, from []byte, yield func(entry) bool) error {
	rows, own, err := t.index(tableName, index)
	if err != nil {
		return err
	}
	if rows.Len() == 0 {
		return nil
	}
	if own {
		rows = rows.Clone() // that stays as it is
	}
	rows.AscendGreaterOrEqual(entryOf(from, nil), yield)
	return nil
}

// Insert adds a row, in the place of one with the same ID if there is one. The row must
// not be changed any more.
func (t *Txn) Insert(tableName string, row any) error {
	c, id, err := t.changeOf(tableName, row)
	if err != nil {
		return err
	}
	s := c.table.layout
	before, _ := c.table.indexes[0].Get(entryOf(id, nil))
	for n, x := range s.indexes {
		key, in, err := x.key(s.name, row)
		if err != nil {
			return err
		}
		if n > 0 && before.row != nil {
			if err := c.leave(n, before.row, key, in); err != nil {
				return err
			}
		}
		if in {
			c.index(n).ReplaceOrInsert(entryOf(key, row))
		}
	}
	t.touch(c, id)
	return nil
}

// leave takes a row that is replaced out of an index, unless the new one has its place.
func (c *change) leave(n int, old any, key []byte, in bool) error {
	x := c.table.layout.indexes[n]
	was, ok, err := x.key(c.table.layout.name, old)
	if err != nil {
		return err
	}
	if ok && (!in || !bytes.Equal(was, key)) {
		c.index(n).Delete(entryOf(was, nil))
	}
	return nil
}

// Delete removes the row with the ID that this one has. It is an error if there is none.
func (t *Txn) Delete(tableName string, row any) error {
	c, id, err := t.changeOf(tableName, row)
	if err != nil {
		return err
	}
	s := c.table.layout
	old, ok := c.index(0).Delete(entryOf(id, nil))
	if !ok {
		return fmt.Errorf("delete from %s: %w", s.name, ErrMissed)
	}
	for n := 1; n < len(s.indexes); n++ {
		if err := c.leave(n, old.row, nil, false); err != nil {
			return err
		}
	}
	t.touch(c, id)
	return nil
}

// changeOf makes the row's table the transaction's own, and returns the row's ID.
func (t *Txn) changeOf(tableName string, row any) (c *change, id []byte, err error) {
	if c, err = t.change(tableName); err != nil {
		return nil, nil, err
	}
	id, _, err = c.table.layout.indexes[0].key(tableName, row)
	return c, id, err
}

// change makes a table the transaction's own.
func (t *Txn) change(tableName string) (*change, error) {
	c, err := t.changing(tableName)
	if err == nil {
		c.settle()
	}
	return c, err
}

// changing is change, and leaves what was appended as it is.
func (t *Txn) changing(tableName string) (*change, error) {
	n, ok := t.db.layout.tables[tableName]
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: %s", ErrTable, tableName)
	case t.write == nil:
		panic("memdb: a change by a transaction that only reads, or is over")
	case t.write[n] == nil:
		tab := t.tables[n]
		own := *tab
		own.indexes = slices.Clone(tab.indexes)
		t.write[n] = &change{table: &own, own: make([]bool, len(own.indexes))}
	}
	return t.write[n], nil
}

// index makes an index the transaction's own.
func (c *change) index(n int) *tree {
	if !c.own[n] {
		c.table.indexes[n], c.own[n] = c.table.indexes[n].Clone(), true
	}
	return c.table.indexes[n]
}

func (t *Txn) touch(c *change, id []byte) {
	if !c.table.layout.watchRows {
		return
	}
	if c.rows == nil {
		c.rows = make(map[int]struct{})
	}
	c.rows[bucket(id)] = struct{}{}
}

// Abort ends a transaction without its changes; after [Txn.Commit] it does nothing.
func (t *Txn) Abort() {
	if t.write != nil {
		t.write = nil
		t.db.writer.Unlock()
	}
}

// Commit makes all changes visible at once, and wakes who watches what changed.
func (t *Txn) Commit() {
	if t.write == nil {
		return
	}
	tables := slices.Clone(t.tables)
	var wake []chan struct{}
	for n, c := range t.write {
		if c == nil {
			continue
		}
		c.settle()
		wake = append(wake, c.table.changed)
		c.table.changed = make(chan struct{})
		if len(c.rows) > 0 {
			rows := *c.table.rows
			for b := range c.rows {
				wake = append(wake, rows[b])
				rows[b] = make(chan struct{})
			}
			c.table.rows = &rows
		}
		tables[n] = c.table
	}
	t.db.root.Store(&tables)
	t.write = nil
	t.db.writer.Unlock()
	for _, ch := range wake {
		close(ch)
	}
}

// Watch returns what is closed when anything of the table changes after the moment that
// the transaction sees.
func (t *Txn) Watch(tableName string) (<-chan struct{}, error) {
	tab, _, err := t.table(tableName)
	if err != nil {
		return nil, err
	}
	return tab.changed, nil
}

// WatchRow is [Txn.Watch] for the row with the ID, whether there is one or not. Now and
// then it is closed for another row. The table's schema has to allow it.
func (t *Txn) WatchRow(tableName string, id []byte) (<-chan struct{}, error) {
	tab, _, err := t.table(tableName)
	if err != nil {
		return nil, err
	}
	if tab.rows == nil {
		return nil, fmt.Errorf("%w: rows of table %s are not watched", ErrSchema, tableName)
	}
	return tab.rows[bucket(id)], nil
}
