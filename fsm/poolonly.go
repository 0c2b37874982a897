package fsm

import (
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// poolShort refuses a request that is for the pool only and that the pool can
// not fill whole, before anything is reserved for it. What is the pod's already,
// or comes to it without a new stake, needs no pool.
func (w *write) poolShort(c *fsmpb.Allocate) *Refusal {
	if !c.GetPoolOnly() {
		return nil
	}
	lacks := w.lacks(c.GetPod(), int(c.GetKeys()))
	if lacks <= 0 {
		return nil
	}
	free := 0
	for range rows[*fsmpb.Key](w.txn, tableKeys, indexPool) {
		if free++; free >= lacks {
			return nil
		}
	}
	return refuse(PoolShort, "pod %s lacks %s, the pool has %d, and no deposits are made: nothing was assigned", podName(c.GetPod()), plural(lacks, "key"), free)
}

// lacks is how many keys the pod needs besides those that it holds, that rest
// from it or from an earlier UID of its name, and that its request reserves.
func (w *write) lacks(p *fsmpb.Pod, n int) int {
	held, r := w.allocation(p), w.request(p)
	switch {
	case r.GetPod().GetUid() == p.GetUid() && int(r.GetKeys()) >= n: // it joins what waits
		return 0
	case held == nil: // an earlier UID's request is taken over
		return n - len(r.GetReserved())
	case held.GetPod().GetUid() == p.GetUid():
		n -= len(held.GetKeys())
		if !r.GetBlocked() {
			n -= len(r.GetReserved())
		}
		return n
	}
	for _, pubkey := range held.GetKeys() {
		if by := w.key(pubkey).GetReservedBy(); by == "" || by == podName(p) {
			n--
		}
	}
	return n
}
