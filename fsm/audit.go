package fsm

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// AuditKept is how many audit records the state keeps; older ones are dropped.
const AuditKept = 100_000

// record adds an audit record about the command that is being decided.
func (w *write) record(action, object, detail string) {
	w.meta.NextAudit++
	a := &fsmpb.Audit{
		Seq: w.meta.GetNextAudit(), Index: w.index, WallMs: w.cmd.GetWallMs(),
		Caller: w.cmd.GetCaller(), RequestId: w.cmd.GetRequestId(),
		Action: action, Object: object, Detail: detail,
	}
	var before []byte
	if last := first[*fsmpb.Audit](w.txn, tableAudit, orderKey(a.GetSeq()-1)); last != nil {
		before = last.GetHash()
	}
	a.Hash = auditHash(before, a)
	mustInsert(w.txn, tableAudit, a)
	for w.meta.GetNextAudit()-w.meta.GetFirstAudit() >= AuditKept {
		if old := first[*fsmpb.Audit](w.txn, tableAudit, orderKey(w.meta.GetFirstAudit())); old != nil {
			mustDelete(w.txn, tableAudit, old)
		}
		w.meta.FirstAudit++
	}
}

// auditHash chains a record to the one before it: SHA-256 over the previous
// hash and the record's fields, each with its length in front.
func auditHash(before []byte, a *fsmpb.Audit) []byte {
	h := sha256.New()
	field := func(b []byte) {
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		_, _ = h.Write(b)
	}
	field(before)
	for _, n := range []uint64{a.GetSeq(), a.GetIndex(), uint64(a.GetWallMs())} { //nolint:gosec // the bit pattern is hashed, not the value
		field(orderKey(n))
	}
	c := a.GetCaller()
	for _, s := range []string{c.GetName(), c.GetRole(), c.GetRemote(), a.GetRequestId(), a.GetAction(), a.GetObject(), a.GetDetail()} {
		field([]byte(s))
	}
	return h.Sum(nil)
}
