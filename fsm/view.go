package fsm

import (
	"iter"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/fsm/memdb"
)

// View is the state as it was at one applied index. It never changes, costs
// nothing to keep for a while, and may be used by several goroutines. What it
// returns must not be modified.
type View struct {
	txn  *memdb.Txn
	from *store
}

// View returns the state as of now.
func (m *Machine) View() *View {
	s := m.store.Load()
	return &View{txn: s.db.Txn(false), from: s}
}

// Meta returns the counters.
func (v *View) Meta() *fsmpb.Meta { return first[*fsmpb.Meta](v.txn, tableMeta, []byte{0}) }

// Key returns the key with the public key (48 bytes), nil if it is unknown.
func (v *View) Key(pubkey []byte) *fsmpb.Key { return first[*fsmpb.Key](v.txn, tableKeys, pubkey) }

// Keys iterates over all keys by public key, from the first that is not less than from.
func (v *View) Keys(from []byte) iter.Seq[*fsmpb.Key] {
	return lowerBound[*fsmpb.Key](v.txn, tableKeys, from)
}

// Allocation returns the allocation of the pod name, nil if there is none.
func (v *View) Allocation(namespace, name string) *fsmpb.Allocation {
	return first[*fsmpb.Allocation](v.txn, tableAllocations, podKey(namespace, name))
}

// Allocations iterates over all allocations by namespace and name.
func (v *View) Allocations() iter.Seq[*fsmpb.Allocation] {
	return lowerBound[*fsmpb.Allocation](v.txn, tableAllocations, nil)
}

// Request returns the request of the pod name that waits, nil if there is none.
func (v *View) Request(namespace, name string) *fsmpb.Request {
	return first[*fsmpb.Request](v.txn, tableRequests, podKey(namespace, name))
}

// Requests iterates over all requests that wait, by namespace and name.
func (v *View) Requests() iter.Seq[*fsmpb.Request] {
	return lowerBound[*fsmpb.Request](v.txn, tableRequests, nil)
}

// Shortfall is how many keys have to be generated for the requests that wait.
func (v *View) Shortfall() int {
	n := 0
	for r := range rows[*fsmpb.Request](v.txn, tableRequests, indexUnfilled) {
		n += int(r.GetWant()) - len(r.GetReserved())
	}
	return n
}

// Deposit returns the deposit for the public key, nil if there is none.
func (v *View) Deposit(pubkey []byte) *fsmpb.Deposit {
	return first[*fsmpb.Deposit](v.txn, tableDeposits, pubkey)
}

// Deposits iterates over all deposits by public key, from the first that is not less than from.
func (v *View) Deposits(from []byte) iter.Seq[*fsmpb.Deposit] {
	return lowerBound[*fsmpb.Deposit](v.txn, tableDeposits, from)
}

// DepositsIn iterates over the deposits in one state, oldest first. Final ones
// are not indexed: there is nothing left to do for them.
func (v *View) DepositsIn(state fsmpb.DepositState) iter.Seq[*fsmpb.Deposit] {
	return rows[*fsmpb.Deposit](v.txn, tableDeposits, indexState, stateKey(state)...)
}

// ToSign iterates over the planned deposits that somebody waits for: those of
// requests, oldest first, and then those that stock the pool.
func (v *View) ToSign() iter.Seq[*fsmpb.Deposit] {
	return func(yield func(*fsmpb.Deposit) bool) {
		var spare []*fsmpb.Deposit
		for d := range v.DepositsIn(fsmpb.DepositState_DEPOSIT_STATE_PLANNED) {
			switch {
			case v.Key(d.GetPubkey()).GetReservedBy() != "":
				if !yield(d) {
					return
				}
			case isUnpaid(d):
				spare = append(spare, d)
			}
		}
		for _, d := range spare {
			if !yield(d) {
				return
			}
		}
	}
}

// DepositStatus returns why deposits wait; its code is empty when they flow.
func (v *View) DepositStatus() *fsmpb.DepositStatus {
	return first[*fsmpb.DepositStatus](v.txn, tableStatus, []byte{0})
}

// Account returns the record of a funding account (20 bytes), nil if it is not open.
func (v *View) Account(chainID uint64, address []byte) *fsmpb.Account {
	return first[*fsmpb.Account](v.txn, tableAccounts, accountKey(chainID, address))
}

// Accounts iterates over all funding accounts.
func (v *View) Accounts() iter.Seq[*fsmpb.Account] {
	return lowerBound[*fsmpb.Account](v.txn, tableAccounts, nil)
}

// Member returns the member with the node ID, nil if there is none.
func (v *View) Member(nodeID string) *fsmpb.Member {
	return first[*fsmpb.Member](v.txn, tableMembers, []byte(nodeID))
}

// Members iterates over all members by node ID.
func (v *View) Members() iter.Seq[*fsmpb.Member] {
	return lowerBound[*fsmpb.Member](v.txn, tableMembers, nil)
}

// Secret returns ciphertext by its name, nil if there is none.
func (v *View) Secret(name string) *fsmpb.Secret {
	return first[*fsmpb.Secret](v.txn, tableSecrets, []byte(name))
}

// Audit iterates over the audit records that are kept, from a sequence number on.
func (v *View) Audit(from uint64) iter.Seq[*fsmpb.Audit] {
	return lowerBound[*fsmpb.Audit](v.txn, tableAudit, orderKey(from))
}

func lowerBound[T any](txn *memdb.Txn, table string, from []byte) iter.Seq[T] {
	return func(yield func(T) bool) {
		must(txn.Ascend(table, indexID, from, func(row any) bool { return yield(rowOf[T](row, nil)) }))
	}
}
