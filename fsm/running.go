package fsm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// ErrDiverged says that this replica is not what most others are, although it applied
// the same indexes: another entry stood in its log, or it decided one differently.
var ErrDiverged = errors.New("this node differs from the others")

// beginRunning starts the running hash with the entry that is being applied.
func (w *write) beginRunning() {
	w.meta.RunningHash = bytes.Repeat([]byte{byte(w.meta.GetFeatureLevel())}, sha256.Size) //nolint:gosec // levels are few
	w.meta.Mark = nil
}

// run adds the entry, and what became of it, to the running hash: the answers, the
// newest audit record, whose hash covers those before, and every counter. Only what all
// versions have is named, one by one: a field that a later version adds to Meta must
// not change it.
func (w *write) run(entry []byte, results []Result) {
	if len(w.meta.GetRunningHash()) == 0 {
		return
	}
	m, h := w.meta, sha256.New()
	_, _ = h.Write(m.GetRunningHash())
	numbers(h, w.index, w.term, uint64(len(entry)))
	_, _ = h.Write(entry)
	for _, r := range results {
		code := ""
		if r.Refusal != nil {
			code = string(r.Refusal.Code)
		}
		numbers(h, uint64(len(code)))
		_, _ = h.Write([]byte(code))
	}
	numbers(h, m.GetSession(), m.GetClusterTimeMs(), m.GetFence(), m.GetNextIndex(), m.GetNextKey(), m.GetNextRequest(),
		m.GetNextDeposit(), m.GetNextAudit(), m.GetFirstAudit(), m.GetGeneration())
	numbers(h, m.GetKeyCounts()...)
	numbers(h, m.GetDepositCounts()...)
	if last := first[*fsmpb.Audit](w.txn, tableAudit, orderKey(m.GetNextAudit())); last != nil {
		_, _ = h.Write(last.GetHash())
	}
	m.RunningHash = h.Sum(nil)
}

func numbers(h hash.Hash, list ...uint64) {
	var b []byte
	for _, n := range list {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	_, _ = h.Write(b)
}

// checkpoint makes a new mark. Whether this replica had at the mark before what most
// voters had was asked already, by [write.differs].
func (w *write) checkpoint() Result {
	if no := w.needs(1); no != nil {
		return Result{Refusal: no}
	}
	w.meta.Mark = &fsmpb.Mark{Index: w.index, Hash: w.meta.GetRunningHash()}
	return Result{}
}

// differs returns an error that wraps [ErrDiverged] if a checkpoint of the entry
// confirms another hash than this replica had at that mark. That is no refusal: what
// this node would answer from now on is not what the cluster decided.
func (w *write) differs(c *fsmpb.Command) error {
	confirmed, mark := c.GetCheckpoint().GetConfirmed(), w.meta.GetMark()
	if confirmed == nil || mark == nil || c.GetSession() != w.term || w.meta.GetSession() != w.term {
		return nil
	}
	if confirmed.GetIndex() != mark.GetIndex() || proto.Equal(confirmed, mark) {
		return nil
	}
	return fmt.Errorf("log entry %d: the running hash before entry %d is %x here, and %x on most members: %w",
		w.index, mark.GetIndex(), mark.GetHash(), confirmed.GetHash(), ErrDiverged)
}
