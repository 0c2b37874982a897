package memdb

import (
	"errors"
	"fmt"
)

// DBSchema describes all tables, by name.
type DBSchema struct {
	Tables map[string]*TableSchema
}

// TableSchema describes one table. It needs an index [IDIndex] that every row is in.
type TableSchema struct {
	Name    string
	Indexes map[string]*IndexSchema
	// WatchRows lets single rows be watched, at the cost of some time for each change.
	WatchRows bool
}

// IndexSchema describes one index, in which each row has a key that no other has.
type IndexSchema struct {
	Name string
	// AllowMissing lets rows be absent from the index.
	AllowMissing bool
	Indexer      Indexer
}

// Indexer makes a row's key in an index; ok is false for a row that is not in it. The
// key must not change any more.
type Indexer interface {
	// FromObject is the key of a row.
	FromObject(row any) (ok bool, key []byte, err error)
}

// IDIndex is the index that names rows: one that is inserted takes the place of the one
// with the same ID.
const IDIndex = "id"

// Errors of a schema, and of code that does not fit it.
var (
	ErrSchema  = errors.New("invalid schema")
	ErrTable   = errors.New("no such table")
	ErrIndex   = errors.New("no such index")
	ErrMissing = errors.New("the row has no key in an index that every row has to be in")
	ErrMissed  = errors.New("there is no such row")
)

// layout is a schema with the indexes of each table in an order of their own, the ID first.
type layout struct {
	tables map[string]int
	list   []*tableLayout
}

type tableLayout struct {
	name      string
	watchRows bool
	indexes   []*IndexSchema
	numbers   map[string]int
}

func (t *tableLayout) number(index string) (int, error) {
	if n, ok := t.numbers[index]; ok {
		return n, nil
	}
	return 0, fmt.Errorf("%w: %s of table %s", ErrIndex, index, t.name)
}

func newLayout(schema *DBSchema) (*layout, error) {
	l := &layout{tables: make(map[string]int)}
	for name, s := range schema.Tables {
		id := s.Indexes[IDIndex]
		if name == "" || s.Name != name || id == nil || id.AllowMissing {
			return nil, fmt.Errorf("%w: table %q needs its name and an index of all IDs", ErrSchema, name)
		}
		t := &tableLayout{name: name, watchRows: s.WatchRows, indexes: []*IndexSchema{id}, numbers: map[string]int{IDIndex: 0}}
		for index, x := range s.Indexes {
			if x.Name != index || x.Indexer == nil {
				return nil, fmt.Errorf("%w: index %q of table %s needs its name and an indexer", ErrSchema, index, name)
			}
			if index != IDIndex {
				t.numbers[index] = len(t.indexes)
				t.indexes = append(t.indexes, x)
			}
		}
		l.tables[name] = len(l.list)
		l.list = append(l.list, t)
	}
	return l, nil
}

// key is a row's place in an index.
func (x *IndexSchema) key(table string, row any) (key []byte, ok bool, err error) {
	ok, key, err = x.Indexer.FromObject(row)
	switch {
	case err != nil:
		return nil, false, fmt.Errorf("index %s of table %s: %w", x.Name, table, err)
	case !ok && !x.AllowMissing:
		return nil, false, fmt.Errorf("index %s of table %s: %w", x.Name, table, ErrMissing)
	}
	return key, ok, nil
}
