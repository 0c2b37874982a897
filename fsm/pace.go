package fsm

import (
	"iter"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// DayMS is a day in milliseconds of cluster time.
const DayMS = 24 * 60 * 60 * 1000

// indexSigned is a partial index of deposits: those that are not planned, by the
// cluster time at which they were signed.
const indexSigned = "signed"

func isSigned(d *fsmpb.Deposit) bool { return !isPlanned(d) }

func signedKey(d *fsmpb.Deposit) []byte {
	return append(orderKey(d.GetSignedAtMs()), orderKey(d.GetSeq())...)
}

// SignedToday iterates over the deposits that were signed within the last 24
// hours of cluster time, the oldest first. A deposit counts once, whatever the
// number of its transactions; one that was lost counts from when it is signed
// anew. Those signed before times were kept count from the cluster's beginning.
func (v *View) SignedToday() iter.Seq[*fsmpb.Deposit] {
	now := v.Meta().GetClusterTimeMs()
	return func(yield func(*fsmpb.Deposit) bool) {
		must(v.txn.Ascend(tableDeposits, indexSigned, orderKey(max(now, DayMS-1)-DayMS+1), func(row any) bool {
			return yield(rowOf[*fsmpb.Deposit](row, nil))
		}))
	}
}
