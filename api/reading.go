package api

import (
	"iter"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// reading is the state that a read answers from, as its caller may see it.
type reading struct {
	view   *fsm.View
	ageMs  int64
	caller Caller
}

// those lists the rows that fit.
func those[T any](all iter.Seq[T], fits func(T) bool) iter.Seq[T] {
	return func(yield func(T) bool) {
		for row := range all {
			if fits(row) && !yield(row) {
				return
			}
		}
	}
}

// whole reports whether the caller sees the whole cluster.
func (r reading) whole() bool { return !r.caller.limited() }

func (r reading) allocations() iter.Seq[*fsmpb.Allocation] {
	return those(r.view.Allocations(), func(a *fsmpb.Allocation) bool {
		return r.caller.sees(a.GetPod().GetNamespace(), a.GetPod().GetName())
	})
}

func (r reading) requests() iter.Seq[*fsmpb.Request] {
	return those(r.view.Requests(), func(q *fsmpb.Request) bool {
		return r.caller.sees(q.GetPod().GetNamespace(), q.GetPod().GetName())
	})
}

func (r reading) keys(from []byte) iter.Seq[*fsmpb.Key] {
	return those(r.view.Keys(from), r.caller.seesKey)
}

// key is nil if there is none that the caller may see.
func (r reading) key(pubkey []byte) *fsmpb.Key {
	if k := r.view.Key(pubkey); k != nil && r.caller.seesKey(k) {
		return k
	}
	return nil
}

func (r reading) deposits(from []byte) iter.Seq[*fsmpb.Deposit] {
	return those(r.view.Deposits(from), func(d *fsmpb.Deposit) bool { return r.key(d.GetPubkey()) != nil })
}

// deposit is nil if there is none that the caller may see.
func (r reading) deposit(pubkey []byte) *fsmpb.Deposit {
	if r.key(pubkey) == nil {
		return nil
	}
	return r.view.Deposit(pubkey)
}

// keyCounts are those of the whole cluster, which are kept, or of what the caller
// sees, which are counted.
func (r reading) keyCounts() map[string]int64 {
	counts := keyCounts(r.view.Meta())
	if r.whole() {
		return counts
	}
	clear(counts)
	for k := range r.keys(nil) {
		counts[keyState(k.GetState())]++
	}
	return counts
}

func (r reading) depositCounts() map[string]int64 {
	counts := depositCounts(r.view.Meta())
	if r.whole() {
		return counts
	}
	clear(counts)
	for d := range r.deposits(nil) {
		counts[depositState(d.GetState())]++
	}
	return counts
}
