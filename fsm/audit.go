package fsm

import (
	"cmp"
	"fmt"
	"iter"
	"strings"

	"github.com/keysteward/keysteward/fsm/audit"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/fsm/memdb"
)

// AuditKept is how many audit records the state keeps, unless Meta says another
// number; older ones are dropped.
const AuditKept = 100_000

// auditedVersion is the command version from which on records are made as
// [audit.Version] says. Older entries have to leave, on every node and for ever,
// what they left when they were written.
const auditedVersion = 2

// audited reports whether the command that is being decided leaves records of
// the present kind.
func (w *write) audited() bool { return w.cmd.GetVersion() >= auditedVersion }

// record adds an audit record about a change that the command makes.
func (w *write) record(action, object, detail string) {
	if !w.audited() {
		w.append(&fsmpb.Audit{Caller: plainCaller(w.cmd.GetCaller()), Action: action, Object: object, Detail: detail})
		return
	}
	w.append(&fsmpb.Audit{
		Version: audit.Version, Term: w.term, Caller: w.auditCaller(),
		Action: brief(action), Object: brief(object), Detail: brief(detail), Outcome: audit.OutcomeDone,
	})
}

// plainCaller is what records of older entries cover. Entries that have more are
// newer, but nothing keeps one from coming.
func plainCaller(c *fsmpb.Caller) *fsmpb.Caller {
	if c == nil {
		return nil
	}
	return &fsmpb.Caller{Name: c.GetName(), Role: c.GetRole(), Remote: c.GetRemote()}
}

// note is record with a detail, and a record at all, that older entries do not leave.
func (w *write) note(action, object, format string, args ...any) {
	if w.audited() {
		w.record(action, object, fmt.Sprintf(format, args...))
	}
}

// more is the part of a detail that older entries do not have.
func (w *write) more(format string, args ...any) string {
	if !w.audited() {
		return ""
	}
	return fmt.Sprintf(format, args...)
}

// auditCaller is who the command was proposed for. Records of one caller share it, as far
// as one entry goes.
func (w *write) auditCaller() *fsmpb.Caller {
	if w.recorded.cmd != w.cmd {
		w.recorded.cmd = w.cmd
		if from := w.origin(); w.recorded.caller == nil || w.recorded.from != from {
			c := from.caller()
			w.recorded.from, w.recorded.caller, w.recorded.fields = from, c, callerText(c)
		}
	}
	return w.recorded.caller
}

// recorded is what the records of a command have in common, and the last one of the entry.
type recorded struct {
	last   *fsmpb.Audit
	cmd    *fsmpb.Command
	from   origin
	caller *fsmpb.Caller
	fields map[string]string
}

// origin is the fields of a caller, as the command has them; a test compares it with the
// protocol.
type origin struct{ name, role, remote, method, credential string }

// origin is the command's caller with what is known of where from: a duty has no address
// and is on the node of the session.
func (w *write) origin() origin {
	c := w.cmd.GetCaller()
	return origin{
		name: c.GetName(), role: c.GetRole(), remote: cmp.Or(c.GetRemote(), w.meta.GetSessionNode()),
		method: c.GetMethod(), credential: c.GetCredential(),
	}
}

func (o origin) caller() *fsmpb.Caller {
	return &fsmpb.Caller{
		Name: brief(o.name), Role: brief(o.role), Remote: brief(o.remote), Method: brief(o.method), Credential: brief(o.credential),
	}
}

// append puts the record at the end of the chain and drops what is too old.
func (w *write) append(a *fsmpb.Audit) {
	w.meta.NextAudit++
	a.Seq, a.Index, a.WallMs = w.meta.GetNextAudit(), w.index, w.cmd.GetWallMs()
	if a.RequestId = w.cmd.GetRequestId(); w.audited() {
		a.RequestId = brief(a.GetRequestId())
	}
	sum, err := w.auditRecord(a).Sum(w.auditHash())
	if err != nil {
		panic(fmt.Sprintf("audit record %d: %v", a.GetSeq(), err)) // we made it
	}
	a.Hash, w.recorded.last = sum, a
	mustInsert(w.txn, tableAudit, a)
	for w.meta.GetNextAudit()-w.meta.GetFirstAudit() >= w.auditKept() {
		w.dropAudit()
	}
}

// auditHash is the hash of the record before the one that comes next.
func (w *write) auditHash() []byte {
	seq := w.meta.GetNextAudit() - 1
	if made := w.recorded.last; made != nil && made.GetSeq() == seq {
		return made.GetHash()
	}
	if last := first[*fsmpb.Audit](w.txn, tableAudit, orderKey(seq)); last != nil {
		return last.GetHash()
	}
	return w.meta.GetAuditAnchor()
}

func (w *write) auditKept() uint64 {
	if n := w.meta.GetAuditKept(); n > 0 {
		return n
	}
	return AuditKept
}

// dropAudit drops the oldest record and remembers its hash, with which the next
// one can still be verified.
func (w *write) dropAudit() {
	var anchor []byte
	if old := first[*fsmpb.Audit](w.txn, tableAudit, orderKey(w.meta.GetFirstAudit())); old != nil {
		mustDelete(w.txn, tableAudit, old)
		anchor = old.GetHash()
	}
	w.meta.FirstAudit++
	w.meta.AuditAnchor = nil
	if w.audited() {
		w.meta.AuditAnchor = anchor
	}
}

// callerFields lists every field of a caller; a test compares it with the
// protocol. Whatever is not listed would be neither hashed nor shown.
func callerFields(c *fsmpb.Caller) map[string]string {
	return map[string]string{
		audit.CallerName:   c.GetName(),
		audit.CallerRole:   c.GetRole(),
		audit.CallerRemote: c.GetRemote(),

		audit.CallerMethod:     c.GetMethod(),
		audit.CallerCredential: c.GetCredential(),
	}
}

// callerText lists the fields of a caller that have a value.
func callerText(c *fsmpb.Caller) map[string]string {
	caller := callerFields(c)
	for name, value := range caller {
		if value == "" {
			delete(caller, name)
		}
	}
	return caller
}

// AuditRecord is a record of the state as the chain's definition, the API and
// the shipped file have it.
func AuditRecord(a *fsmpb.Audit) audit.Record { return auditRecord(a, callerText(a.GetCaller())) }

// auditRecord is [AuditRecord], quicker for one that this command makes.
func (w *write) auditRecord(a *fsmpb.Audit) audit.Record {
	if a.GetCaller() != nil && a.GetCaller() == w.recorded.caller {
		return auditRecord(a, w.recorded.fields)
	}
	return AuditRecord(a)
}

func auditRecord(a *fsmpb.Audit, caller map[string]string) audit.Record {
	return audit.Record{
		Seq: a.GetSeq(), Index: a.GetIndex(), Term: a.GetTerm(), Version: a.GetVersion(), WallMs: a.GetWallMs(),
		Caller: caller, RequestID: a.GetRequestId(), Action: a.GetAction(), Object: a.GetObject(),
		Outcome: a.GetOutcome(), Detail: a.GetDetail(), Hash: a.GetHash(),
	}
}

// AuditAnchor is the place before the oldest record that is kept. It has a number
// and no hash where older versions of this program dropped the record there.
func (v *View) AuditAnchor() audit.Head { return auditAnchor(v.Meta()) }

func auditAnchor(m *fsmpb.Meta) audit.Head {
	return audit.Head{Seq: max(m.GetFirstAudit(), 1) - 1, Hash: m.GetAuditAnchor()}
}

// AuditHead is the newest record, or the anchor if there is none.
func (v *View) AuditHead() audit.Head { return auditHead(v.txn, v.Meta()) }

func auditHead(txn *memdb.Txn, m *fsmpb.Meta) audit.Head {
	seq := m.GetNextAudit()
	if a := first[*fsmpb.Audit](txn, tableAudit, orderKey(seq)); a != nil {
		return audit.Head{Seq: seq, Hash: a.GetHash()}
	}
	return auditAnchor(m)
}

// AuditBy returns the record with the sequence number, nil if it is not kept.
func (v *View) AuditBy(seq uint64) *fsmpb.Audit {
	return first[*fsmpb.Audit](v.txn, tableAudit, orderKey(seq))
}

// AuditRecords is [View.Audit] as [AuditRecord] has them. Records that follow each other
// share the fields of their caller, which are not to be changed.
func (v *View) AuditRecords(from uint64) iter.Seq[audit.Record] {
	return func(yield func(audit.Record) bool) {
		var of *fsmpb.Caller
		var fields map[string]string
		for a := range v.Audit(from) {
			if fields == nil || a.GetCaller() != of {
				of, fields = a.GetCaller(), callerText(a.GetCaller())
			}
			if !yield(auditRecord(a, fields)) {
				return
			}
		}
	}
}

// WatchAudit returns what changes when there is a new audit record.
func (v *View) WatchAudit() Changes { return v.watch(tableAudit) }

// checkAudit follows the chain from the anchor to the newest record.
func (c *checker) checkAudit() {
	chain := audit.NewChain(c.view.AuditAnchor())
	for a := range c.view.Audit(0) {
		if err := chain.Next(AuditRecord(a)); err != nil {
			c.failf("%w", err)
			return
		}
	}
	if got, want := chain.Head().Seq, c.meta.GetNextAudit(); got != want {
		c.failf("the newest audit record is %d, the counter says %d", got, want)
	}
}

// briefList joins names and leaves out what would be too long.
func briefList(names []string) string {
	const most = 8
	if len(names) > most {
		names = append(names[:most:most], fmt.Sprintf("and %d more", len(names)-most))
	}
	return strings.Join(names, ", ")
}
