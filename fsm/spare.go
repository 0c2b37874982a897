package fsm

import (
	"cmp"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/fsm/memdb"
)

// MaxSpareKeys bounds how many spare keys may be wanted.
const MaxSpareKeys = 10_000

// Spares are the keys that no request reserves, by how far they are.
type Spares struct {
	// Wanted is how many there are to be in all.
	Wanted int
	// Free may be handed out.
	Free int
	// OnTheirWay have a deposit that was signed and is not final.
	OnTheirWay int
	// Planned have one that was never signed.
	Planned int
}

// setSpareKeys says how many spare keys are wanted. Fewer than before gives up
// those that were only planned.
func (w *write) setSpareKeys(c *fsmpb.SetSpareKeys) Result {
	if c.GetKeys() > MaxSpareKeys {
		return Result{Refusal: refuse(Invalid, "%d spare keys: want at most %d", c.GetKeys(), MaxSpareKeys)}
	}
	old := w.depositStatus()
	if old.GetSpareKeys() == c.GetKeys() {
		return Result{}
	}
	s := &fsmpb.DepositStatus{SinceWallMs: w.cmd.GetWallMs()}
	if old != nil {
		s = proto.CloneOf(old)
	}
	s.SpareKeys = c.GetKeys()
	mustInsert(w.txn, tableStatus, s)
	w.record("spare-keys.set", "", plural(int(c.GetKeys()), "key"))
	w.stock()
	return Result{}
}

// stock plans deposits for nobody until there are as many spare keys as wanted,
// or no generated keys any more, and gives up what was planned beyond that. A
// deposit that was signed once is never given up. It follows everything that
// takes or brings a spare key, after the requests were served.
func (w *write) stock() {
	wanted := int(w.depositStatus().GetSpareKeys())
	have, planned := loose(w.txn)
	have += poolUpTo(w.txn, wanted-have)
	for len(planned) > 0 && have+len(planned) > wanted {
		last := len(planned) - 1
		w.unreserve(copyKey(w.key(planned[last].GetPubkey())))
		planned = planned[:last]
	}
	for n := have + len(planned); n < wanted; n++ {
		k := lowest[*fsmpb.Key](w.txn, tableKeys, indexSpare)
		if k == nil {
			return
		}
		k = copyKey(k)
		k.State = fsmpb.KeyState_KEY_STATE_DEPOSITING
		w.planDeposit(k.GetPubkey())
		w.putKey(k)
	}
}

// loose looks through the keys whose stake is on its way for nobody: how many
// deposits were signed, and which were never, in the order of their plans. One
// that was lost is neither: nobody pays for it before a request needs its key.
func loose(txn *memdb.Txn) (signed int, planned []*fsmpb.Deposit) {
	for k := range rows[*fsmpb.Key](txn, tableKeys, indexLoose) {
		d := first[*fsmpb.Deposit](txn, tableDeposits, k.GetPubkey())
		switch {
		case isUnpaid(d):
			planned = append(planned, d)
		case !isPlanned(d):
			signed++
		}
	}
	slices.SortFunc(planned, func(a, b *fsmpb.Deposit) int { return cmp.Compare(a.GetSeq(), b.GetSeq()) })
	return signed, planned
}

// poolUpTo counts the keys of the pool, as far as most.
func poolUpTo(txn *memdb.Txn, most int) int {
	n := 0
	if most <= 0 {
		return 0
	}
	for range rows[*fsmpb.Key](txn, tableKeys, indexPool) {
		if n >= most {
			break
		}
		n++
	}
	return n
}

// Spares counts the keys that no request reserves.
func (v *View) Spares() Spares {
	signed, planned := loose(v.txn)
	return Spares{
		Wanted: int(v.DepositStatus().GetSpareKeys()), Free: poolUpTo(v.txn, math.MaxInt),
		OnTheirWay: signed, Planned: len(planned),
	}
}

// SpareShortfall is how many keys have to be generated for the pool, beyond
// those that requests lack.
func (v *View) SpareShortfall() int {
	wanted := int(v.DepositStatus().GetSpareKeys())
	if wanted == 0 {
		return 0
	}
	signed, planned := loose(v.txn)
	have := signed + len(planned)
	return max(0, wanted-have-poolUpTo(v.txn, wanted-have))
}

// checkSpares sees to it that nothing is planned for nobody beyond what is
// wanted, and that all is planned that can be.
func (c *checker) checkSpares() {
	s := c.view.Spares()
	if s.Planned > 0 && s.Free+s.OnTheirWay+s.Planned > s.Wanted {
		c.failf("%d deposits are planned for nobody, beside %d free keys and %d on their way, while %d spare keys are wanted", s.Planned, s.Free, s.OnTheirWay, s.Wanted)
	}
	k := lowest[*fsmpb.Key](c.view.txn, tableKeys, indexSpare)
	if k != nil && c.view.SpareShortfall() > 0 {
		c.failf("%d spare keys are missing while key %x is to be had", c.view.SpareShortfall(), k.GetPubkey())
	}
}
