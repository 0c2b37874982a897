package fsm

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/fsm/memdb"
)

// TestCheckFinds plants what must never be, one fault at a time, because a check
// that finds nothing proves nothing.
func TestCheckFinds(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]func(v *View, txn *memdb.Txn){
		"key of two allocations": func(v *View, txn *memdb.Txn) {
			b := copyAllocation(v.Allocation("ns", "b"))
			b.Keys = append(b.Keys, v.Allocation("ns", "a").GetKeys()[0])
			mustInsert(txn, tableAllocations, b)
		},
		"key of another holder": func(v *View, txn *memdb.Txn) {
			k := copyKey(v.Key(v.Allocation("ns", "b").GetKeys()[0]))
			k.Holder = testPod("b", "other")
			mustInsert(txn, tableKeys, k)
		},
		"key held outside of its allocation": func(v *View, txn *memdb.Txn) {
			b := copyAllocation(v.Allocation("ns", "b"))
			b.Keys = v.Allocation("ns", "a").GetKeys()[:0]
			mustInsert(txn, tableAllocations, b)
		},
		"held key without a holder": func(v *View, txn *memdb.Txn) {
			k := copyKey(v.Key(v.Allocation("ns", "b").GetKeys()[0]))
			k.Holder = nil
			mustInsert(txn, tableKeys, k)
		},
		"free key without proof": func(v *View, txn *memdb.Txn) {
			k := copyKey(lowest[*fsmpb.Key](txn, tableKeys, indexPool))
			k.Fence = 99
			mustInsert(txn, tableKeys, k)
		},
		"allocation of a future fence": func(v *View, txn *memdb.Txn) {
			b := copyAllocation(v.Allocation("ns", "b"))
			b.Fence = 1000
			mustInsert(txn, tableAllocations, b)
		},
		"key reserved twice": func(v *View, txn *memdb.Txn) {
			r := copyRequest(v.Request("ns", "a"))
			r.Reserved[0] = v.Request("ns", "c").GetReserved()[0]
			mustInsert(txn, tableRequests, r)
		},
		"reservation that nobody knows": func(v *View, txn *memdb.Txn) {
			k := copyKey(lowest[*fsmpb.Key](txn, tableKeys, indexPool))
			k.ReservedBy = "ns/nobody"
			mustInsert(txn, tableKeys, k)
		},
		"wrong number of ready keys": func(v *View, txn *memdb.Txn) {
			r := copyRequest(v.Request("ns", "c"))
			r.Ready++
			mustInsert(txn, tableRequests, r)
		},
		"request of the holder itself is blocked": func(v *View, txn *memdb.Txn) {
			r := copyRequest(v.Request("ns", "a"))
			r.Pod = testPod("a", "1")
			mustInsert(txn, tableRequests, r)
		},
		"request that could be filled": func(v *View, txn *memdb.Txn) {
			r := copyRequest(v.Request("ns", "c"))
			r.Want, r.Keys = r.GetWant()+1, r.GetKeys()+1
			mustInsert(txn, tableRequests, r)
		},
		"nonce of two deposits": func(v *View, txn *memdb.Txn) {
			keys := v.Request("ns", "c").GetReserved()
			d := copyDeposit(v.Deposit(keys[3]))
			d.State, d.ChainId, d.Account = fsmpb.DepositState_DEPOSIT_STATE_SIGNED, 1, testAccount(1).GetAddress()
			d.Attempts = v.Deposit(keys[2]).GetAttempts()
			mustInsert(txn, tableDeposits, d)
		},
		"nonce that was never used up": func(v *View, txn *memdb.Txn) {
			d := copyDeposit(v.Deposit(v.Request("ns", "c").GetReserved()[2]))
			d.Attempts = []*fsmpb.Attempt{{Nonce: 1000}}
			mustInsert(txn, tableDeposits, d)
		},
		"nonce that nobody used": func(v *View, txn *memdb.Txn) {
			a := proto.CloneOf(v.Account(1, testAccount(1).GetAddress()))
			a.NextNonce++
			mustInsert(txn, tableAccounts, a)
		},
		"nonce of a deposit that was given up": func(v *View, txn *memdb.Txn) {
			a := proto.CloneOf(v.Account(1, testAccount(1).GetAddress()))
			a.GivenUp = []*fsmpb.NonceRange{{First: a.GetFirstNonce(), Last: a.GetFirstNonce()}}
			mustInsert(txn, tableAccounts, a)
		},
		"planned deposit with signed bytes": func(v *View, txn *memdb.Txn) {
			d := copyDeposit(v.Deposit(v.Request("ns", "c").GetReserved()[2]))
			d.State = fsmpb.DepositState_DEPOSIT_STATE_PLANNED
			mustInsert(txn, tableDeposits, d)
		},
		"held key without a stake": func(v *View, txn *memdb.Txn) {
			mustDelete(txn, tableDeposits, v.Deposit(v.Allocation("ns", "b").GetKeys()[0]))
		},
		"free key that was imported and never confirmed": func(v *View, txn *memdb.Txn) {
			k := copyKey(v.Key(pubkey(1<<20 + 1)))
			k.State = fsmpb.KeyState_KEY_STATE_FREE
			mustInsert(txn, tableKeys, k)
		},
		"imported key whose rest is proven over": func(v *View, txn *memdb.Txn) {
			k := copyKey(v.Key(pubkey(1<<20 + 1)))
			k.ProofFence = k.GetFence()
			mustInsert(txn, tableKeys, k)
		},
		"imported key whose wait is over": func(v *View, txn *memdb.Txn) {
			k := copyKey(v.Key(pubkey(1 << 20)))
			k.FreeAtMs = v.Meta().GetClusterTimeMs()
			mustInsert(txn, tableKeys, k)
		},
		"imported key without a secret": func(v *View, txn *memdb.Txn) {
			k := copyKey(v.Key(pubkey(1 << 20)))
			k.Sealed = nil
			mustInsert(txn, tableKeys, k)
		},
		"imported key with an index": func(v *View, txn *memdb.Txn) {
			k := copyKey(v.Key(pubkey(1 << 20)))
			k.Index = 1
			mustInsert(txn, tableKeys, k)
		},
		"derived key that rests without an allocation": func(v *View, txn *memdb.Txn) {
			k := copyKey(v.Key(pubkey(1 << 20)))
			k.Imported = false
			mustInsert(txn, tableKeys, k)
		},
		"derived key with a secret": func(v *View, txn *memdb.Txn) {
			k := copyKey(v.Key(v.Allocation("ns", "b").GetKeys()[0]))
			k.Sealed = []byte("s")
			mustInsert(txn, tableKeys, k)
		},
		"derived key with a proof of its own": func(v *View, txn *memdb.Txn) {
			k := copyKey(v.Key(v.Allocation("ns", "b").GetKeys()[0]))
			k.Proof = proof()
			mustInsert(txn, tableKeys, k)
		},
		"stake for an imported key": func(v *View, txn *memdb.Txn) {
			d := copyDeposit(v.Deposit(v.Allocation("ns", "b").GetKeys()[0]))
			d.Pubkey = pubkey(1 << 20)
			mustInsert(txn, tableDeposits, d)
		},
		"deposit of no key": func(v *View, txn *memdb.Txn) {
			mustInsert(txn, tableDeposits, &fsmpb.Deposit{Pubkey: pubkey(999), State: fsmpb.DepositState_DEPOSIT_STATE_PLANNED})
		},
		"retired key without a reason": func(v *View, txn *memdb.Txn) {
			k := copyKey(retiredKey(v))
			k.RetiredReason = ""
			mustInsert(txn, tableKeys, k)
		},
		"reason without retirement": func(v *View, txn *memdb.Txn) {
			k := copyKey(v.Key(v.Allocation("ns", "b").GetKeys()[0]))
			k.RetiredReason = RetiredExited
			mustInsert(txn, tableKeys, k)
		},
		"retired key that is held": func(v *View, txn *memdb.Txn) {
			b := copyAllocation(v.Allocation("ns", "b"))
			b.Keys = append(b.Keys, retiredKey(v).GetPubkey())
			mustInsert(txn, tableAllocations, b)
		},
		"retired key that is reserved": func(v *View, txn *memdb.Txn) {
			k := copyKey(retiredKey(v))
			k.ReservedBy = "ns/c"
			mustInsert(txn, tableKeys, k)
			r := copyRequest(v.Request("ns", "c"))
			r.Reserved[0] = k.GetPubkey()
			mustInsert(txn, tableRequests, r)
		},
		"key that is not counted": func(v *View, txn *memdb.Txn) {
			mustInsert(txn, tableKeys, &fsmpb.Key{Pubkey: pubkey(999), State: fsmpb.KeyState_KEY_STATE_RETIRED})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := furnished(t)
			require.NoError(t, r.View().Check())
			txn := r.store.Load().db.Txn(true)
			plant(r.View(), txn)
			txn.Commit()
			require.Error(t, r.View().Check())
		})
	}
}

func retiredKey(v *View) *fsmpb.Key {
	for k := range v.Keys(nil) {
		if k.GetState() == fsmpb.KeyState_KEY_STATE_RETIRED {
			return k
		}
	}
	return nil
}
