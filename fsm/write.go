package fsm

import (
	"fmt"
	"iter"

	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/fsm/memdb"
)

// write is the change that one log entry makes: a transaction, a working copy
// of the counters, and the command that is being decided.
type write struct {
	txn   *memdb.Txn
	meta  *fsmpb.Meta
	index uint64
	term  uint64
	cmd   *fsmpb.Command
	// next is the store that the change is made in, where a restore replaced the
	// machine's; else nil.
	next *store
	// large says that the entry may hold a command that is too long.
	large    bool
	recorded recorded
	// unreadable is why this node can not read the entry, nil if it can.
	unreadable error
}

func beginWrite(db *memdb.MemDB, index, term uint64) *write {
	txn := db.Txn(true)
	meta := proto.CloneOf(first[*fsmpb.Meta](txn, tableMeta, []byte{0}))
	meta.AppliedIndex, meta.AppliedTerm = index, term
	return &write{txn: txn, meta: meta, index: index, term: term}
}

func (w *write) commit() {
	mustInsert(w.txn, tableMeta, w.meta)
	w.txn.Commit()
}

// abort does nothing after a commit.
func (w *write) abort() { w.txn.Abort() }

func (w *write) nextFence() uint64 {
	w.meta.Fence++
	return w.meta.GetFence()
}

// putKey stores a key and keeps the counts by state and by term of the seal.
func (w *write) putKey(k *fsmpb.Key) {
	old := w.key(k.GetPubkey())
	if old != nil {
		w.meta.KeyCounts[old.GetState()]--
	}
	w.countSealed(old.GetSealed(), k.GetSealed())
	w.meta.KeyCounts[k.GetState()]++
	mustInsert(w.txn, tableKeys, k)
}

// putDeposit stores a deposit and keeps the counts by state.
func (w *write) putDeposit(d *fsmpb.Deposit) {
	if old := w.deposit(d.GetPubkey()); old != nil {
		w.meta.DepositCounts[old.GetState()]--
	}
	w.meta.DepositCounts[d.GetState()]++
	mustInsert(w.txn, tableDeposits, d)
}

func (w *write) deleteDeposit(d *fsmpb.Deposit) {
	w.meta.DepositCounts[d.GetState()]--
	mustDelete(w.txn, tableDeposits, d)
}

func (w *write) key(pubkey []byte) *fsmpb.Key {
	return first[*fsmpb.Key](w.txn, tableKeys, pubkey)
}

func (w *write) deposit(pubkey []byte) *fsmpb.Deposit {
	return first[*fsmpb.Deposit](w.txn, tableDeposits, pubkey)
}

func (w *write) allocation(p *fsmpb.Pod) *fsmpb.Allocation {
	return first[*fsmpb.Allocation](w.txn, tableAllocations, podKey(p.GetNamespace(), p.GetName()))
}

func (w *write) request(p *fsmpb.Pod) *fsmpb.Request {
	return first[*fsmpb.Request](w.txn, tableRequests, podKey(p.GetNamespace(), p.GetName()))
}

// first returns the row with this id, nil if there is none. No row has an empty id.
func first[T any](txn *memdb.Txn, table string, id []byte) T {
	if len(id) == 0 {
		var none T
		return none
	}
	row, err := txn.First(table, indexID, id)
	return rowOf[T](row, err)
}

// lowest returns the first row of a partial index, nil if it is empty.
func lowest[T any](txn *memdb.Txn, table, index string) T {
	row, err := txn.Lowest(table, index)
	return rowOf[T](row, err)
}

// rows iterates over the rows of an index whose keys begin so; what is changed meanwhile
// is not seen.
func rows[T any](txn *memdb.Txn, table, index string, begin ...byte) iter.Seq[T] {
	return func(yield func(T) bool) {
		must(txn.Prefix(table, index, begin, func(row any) bool { return yield(rowOf[T](row, nil)) }))
	}
}

// must panics where the tables report a programming error.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("state: %v", err))
	}
}

func rowOf[T any](row any, err error) T {
	var none T
	if err != nil {
		panic(fmt.Sprintf("state: %v", err))
	}
	if row == nil {
		return none
	}
	typed, ok := unpack(row).(T)
	if !ok {
		panic(fmt.Sprintf("state: row of type %T, want %T", row, none))
	}
	return typed
}

// mustInsert panics where memdb reports a programming error; it has no others.
func mustInsert(txn *memdb.Txn, table string, row any) {
	if err := txn.Insert(table, pack(row)); err != nil {
		panic(fmt.Sprintf("insert into %s: %v", table, err))
	}
}

func mustDelete(txn *memdb.Txn, table string, row any) {
	if err := txn.Delete(table, row); err != nil {
		panic(fmt.Sprintf("delete from %s: %v", table, err))
	}
}
