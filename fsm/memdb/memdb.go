package memdb

import (
	"hash/fnv"
	"sync"
	"sync/atomic"
)

// MemDB is a set of tables. It is safe for concurrent use.
type MemDB struct {
	layout *layout
	root   atomic.Pointer[[]*table]
	writer sync.Mutex
}

// table is one table at one moment.
type table struct {
	layout  *tableLayout
	indexes []*tree
	// changed is closed when anything of the table changes.
	changed chan struct{}
	// rows are closed when a row changes whose ID has this hash; nil unless the
	// schema wants it.
	rows *[buckets]chan struct{}
}

// buckets is into how many parts the rows of a table are divided for watching.
const buckets = 256

// NewMemDB makes empty tables.
func NewMemDB(schema *DBSchema) (*MemDB, error) {
	l, err := newLayout(schema)
	if err != nil {
		return nil, err
	}
	db := &MemDB{layout: l}
	tables := make([]*table, len(l.list))
	for i, t := range l.list {
		tables[i] = &table{layout: t, changed: make(chan struct{})}
		for range t.indexes {
			tables[i].indexes = append(tables[i].indexes, newTree())
		}
		if t.watchRows {
			tables[i].rows = &[buckets]chan struct{}{}
			for b := range tables[i].rows {
				tables[i].rows[b] = make(chan struct{})
			}
		}
	}
	db.root.Store(&tables)
	return db, nil
}

// bucket spreads IDs over the parts (FNV-1a).
func bucket(id []byte) int {
	h := fnv.New32a()
	_, _ = h.Write(id)
	return int(h.Sum32() % buckets)
}

// Txn begins to read the tables as they are now, or to change them. A change waits
// until the one before it was committed or aborted.
func (db *MemDB) Txn(write bool) *Txn {
	t := &Txn{db: db}
	if write {
		db.writer.Lock()
		t.write = make([]*change, len(db.layout.list))
	}
	t.tables = *db.root.Load()
	return t
}
