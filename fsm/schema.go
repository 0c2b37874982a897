package fsm

import (
	"encoding/binary"
	"fmt"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/fsm/memdb"
)

// Tables of the state. Every row is an immutable protobuf record: changing one
// means inserting a changed copy.
const (
	tableMeta        = "meta"
	tableMembers     = "members"
	tableSecrets     = "secrets"
	tableKeys        = "keys"
	tableRequests    = "requests"
	tableAllocations = "allocations"
	tableDeposits    = "deposits"
	tableAccounts    = "accounts"
	tableStatus      = "status"
	tableAudit       = "audit"
	tableTokens      = "tokens"
)

// Indexes besides "id". All are partial: a row that does not qualify is absent.
const (
	indexID       = memdb.IDIndex
	indexPool     = "pool"     // keys: free and reserved by nobody, in order of birth
	indexLoose    = "loose"    // keys: the stake is on its way, reserved by nobody
	indexSpare    = "spare"    // keys: generated, without a deposit, in order of birth
	indexAlone    = "alone"    // keys that rest without an allocation, in order of birth
	indexRestored = "restored" // keys that a restore marked, in order of birth
	indexSealed   = "sealed"   // keys that came with a ciphertext, by the term of its data key
	indexUnfilled = "unfilled" // requests that still lack reserved keys and are not blocked, oldest first
	indexFreeAt   = "free_at"  // allocations that rest with proof, by the cluster time that ends it
	indexLease    = "lease"    // allocations with a lease and without proof, by the cluster time at which it runs out
	indexState    = "state"    // deposits that are not final, by state, then order
	indexHash     = "hash"     // tokens, by SHA-256
)

func schema() *memdb.DBSchema {
	return &memdb.DBSchema{Tables: map[string]*memdb.TableSchema{
		tableMeta:    table(tableMeta, func(*fsmpb.Meta) []byte { return []byte{0} }),
		tableStatus:  table(tableStatus, func(*fsmpb.DepositStatus) []byte { return []byte{0} }),
		tableMembers: table(tableMembers, func(m *fsmpb.Member) []byte { return []byte(m.GetNodeId()) }),
		tableSecrets: table(tableSecrets, func(s *fsmpb.Secret) []byte { return []byte(s.GetName()) }),
		tableAudit:   table(tableAudit, func(a *fsmpb.Audit) []byte { return orderKey(a.GetSeq()) }),
		tableTokens:  tokenTable(),
		tableObjects: objectTable(),

		tableCertificates: certificateTable(),

		tableStaging: table(tableStaging, func(s *fsmpb.Staged) []byte { return orderKey(uint64(s.GetSequence())) }),

		tableAccounts: table(tableAccounts, func(a *fsmpb.Account) []byte {
			return accountKey(a.GetChainId(), a.GetAddress())
		}),
		tableKeys: keyTable(),
		tableRequests: rowsWatched(table(
			tableRequests,
			func(r *fsmpb.Request) []byte { return podKey(r.GetPod().GetNamespace(), r.GetPod().GetName()) },
			partial(indexUnfilled, isUnfilled, func(r *fsmpb.Request) []byte { return orderKey(r.GetSeq()) }),
		)),
		tableAllocations: rowsWatched(table(
			tableAllocations,
			func(a *fsmpb.Allocation) []byte { return podKey(a.GetPod().GetNamespace(), a.GetPod().GetName()) },
			partial(indexFreeAt, restsWithProof, func(a *fsmpb.Allocation) []byte {
				return append(orderKey(a.GetFreeAtMs()), orderKey(a.GetFence())...)
			}),
			partial(indexLease, isLeased, func(a *fsmpb.Allocation) []byte {
				return append(orderKey(a.GetLeaseUntilMs()), orderKey(a.GetFence())...)
			}),
		)),
		tableDeposits: depositTable(),
	}}
}

// depositTable has final deposits packed.
func depositTable() *memdb.TableSchema {
	t := table(
		tableDeposits,
		func(d *fsmpb.Deposit) []byte { return d.GetPubkey() },
		partial(indexState, isOpen, func(d *fsmpb.Deposit) []byte {
			return append(stateKey(d.GetState()), orderKey(d.GetSeq())...)
		}),
		partial(indexSigned, isSigned, signedKey),
	)
	for name, packed := range map[string]func(*packedDeposit) []byte{
		indexID: (*packedDeposit).pubkey, indexSigned: (*packedDeposit).signedKey, indexState: nil,
	} {
		if x, ok := t.Indexes[name].Indexer.(rowIndex[*fsmpb.Deposit]); ok {
			t.Indexes[name].Indexer = depositIndex{rowIndex: x, packed: packed}
		}
	}
	return t
}

func keyTable() *memdb.TableSchema {
	return table(
		tableKeys,
		func(k *fsmpb.Key) []byte { return k.GetPubkey() },
		partial(indexPool, inPool, func(k *fsmpb.Key) []byte { return orderKey(k.GetOrdinal()) }),
		partial(indexLoose, isLoose, func(k *fsmpb.Key) []byte { return orderKey(k.GetOrdinal()) }),
		partial(indexSpare, isSpare, func(k *fsmpb.Key) []byte { return orderKey(k.GetOrdinal()) }),
		partial(indexRestored, (*fsmpb.Key).GetRestored, func(k *fsmpb.Key) []byte { return orderKey(k.GetOrdinal()) }),
		partial(indexAlone, RestsAlone, func(k *fsmpb.Key) []byte { return orderKey(k.GetOrdinal()) }),
		partial(indexSealed, hasSealed, func(k *fsmpb.Key) []byte {
			return append(binary.BigEndian.AppendUint32(nil, SealedTerm(k.GetSealed())), k.GetPubkey()...)
		}),
		partial(indexImportFreeAt, endsLoneRest, func(k *fsmpb.Key) []byte {
			return append(orderKey(k.GetFreeAtMs()), orderKey(k.GetOrdinal())...)
		}),
	)
}

func inPool(k *fsmpb.Key) bool {
	return k.GetState() == fsmpb.KeyState_KEY_STATE_FREE && k.GetReservedBy() == ""
}

func isLoose(k *fsmpb.Key) bool {
	return k.GetState() == fsmpb.KeyState_KEY_STATE_DEPOSITING && k.GetReservedBy() == ""
}

func isSpare(k *fsmpb.Key) bool { return k.GetState() == fsmpb.KeyState_KEY_STATE_GENERATED }

func isUnfilled(r *fsmpb.Request) bool {
	return !r.GetBlocked() && len(r.GetReserved()) < int(r.GetWant())
}

func restsWithProof(a *fsmpb.Allocation) bool {
	return a.GetState() == fsmpb.AllocationState_ALLOCATION_STATE_RESTING && a.GetProof() != nil
}

func isLeased(a *fsmpb.Allocation) bool { return a.GetLeaseUntilMs() > 0 && a.GetProof() == nil }

func isOpen(d *fsmpb.Deposit) bool { return d.GetState() != fsmpb.DepositState_DEPOSIT_STATE_FINAL }

// orderKey makes a number sort as bytes the way it sorts as a number.
func orderKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// stateKey is the prefix of one state in an index by state.
func stateKey(s fsmpb.DepositState) []byte {
	return []byte{byte(s)} //nolint:gosec // there are few states
}

// podKey names a pod without its UID; the zero byte occurs in no name.
func podKey(namespace, name string) []byte { return []byte(namespace + "\x00" + name + "\x00") }

func accountKey(chainID uint64, address []byte) []byte { return append(orderKey(chainID), address...) }

// rowIndex makes memdb's index keys from a typed row.
type rowIndex[T any] struct {
	has func(T) bool
	key func(T) []byte
}

// FromObject implements memdb.Indexer.
func (x rowIndex[T]) FromObject(raw any) (bool, []byte, error) {
	row, ok := raw.(T)
	if !ok {
		return false, nil, fmt.Errorf("row of type %T in a table of %T", raw, row)
	}
	if x.has != nil && !x.has(row) {
		return false, nil, nil
	}
	return true, x.key(row), nil
}

func table[T any](name string, id func(T) []byte, more ...*memdb.IndexSchema) *memdb.TableSchema {
	indexes := map[string]*memdb.IndexSchema{
		indexID: {Name: indexID, Indexer: rowIndex[T]{key: id}},
	}
	for _, x := range more {
		indexes[x.Name] = x
	}
	return &memdb.TableSchema{Name: name, Indexes: indexes}
}

// rowsWatched lets whoever waits for one row of the table watch it.
func rowsWatched(t *memdb.TableSchema) *memdb.TableSchema {
	t.WatchRows = true
	return t
}

func partial[T any](name string, has func(T) bool, key func(T) []byte) *memdb.IndexSchema {
	return &memdb.IndexSchema{
		Name: name, AllowMissing: true,
		Indexer: rowIndex[T]{has: has, key: key},
	}
}
