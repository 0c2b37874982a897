package fsm

import (
	"github.com/keysteward/keysteward/fsm/audit"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// recordAct leaves a record about something that an operator had the leader do and that
// is no command: what Raft does by itself, or what is read. It is logged before it is
// done, so that nothing is done without; one that came to nothing after that has another
// record. Which acts there are is for the proposer to say, so that versions of the
// program can not differ about it. Its value is nil.
func (w *write) recordAct(c *fsmpb.RecordAct) Result {
	if c.GetAction() == "" {
		return Result{Refusal: refuse(Invalid, "an act without a name")}
	}
	if c.GetFailed() == "" {
		w.record(c.GetAction(), c.GetObject(), c.GetDetail())
		return Result{}
	}
	w.append(&fsmpb.Audit{
		Version: audit.Version, Term: w.term, Caller: w.auditCaller(),
		Action: brief(c.GetAction()), Object: brief(c.GetObject()), Detail: brief(c.GetDetail()), Outcome: audit.Refused(brief(c.GetFailed())),
	})
	return Result{}
}
