package api

import (
	"math"
	"strconv"
	"strings"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/audit"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// listAudit shows one page of audit records, with what a reader needs to verify
// the chain alone.
func (s *Server) listAudit(c *call) (answer, error) {
	from, err := c.fromSeq()
	if err != nil {
		return answer{}, err
	}
	limit, err := c.limit()
	if err != nil {
		return answer{}, err
	}
	fits, err := c.auditFilter()
	if err != nil {
		return answer{}, err
	}
	view := c.reading.view
	page := wire.AuditPage{Records: []wire.AuditRecord{}, Anchor: auditHead(view.AuditAnchor()), Head: auditHead(view.AuditHead())}
	for a := range view.Audit(from) {
		if !fits(a) {
			continue
		}
		if len(page.Records) == limit {
			page.NextFrom = signed(a.GetSeq())
			break
		}
		page.Records = append(page.Records, auditRecord(a))
	}
	return ok(page), nil
}

// fromSeq is the sequence number that the caller wants to begin at.
func (c *call) fromSeq() (uint64, error) {
	if !c.query.Has("from") {
		return 0, nil
	}
	n, err := strconv.ParseUint(c.query.Get("from"), 10, 64)
	if err != nil || n > math.MaxInt64 {
		return 0, badField("from", "%s is not the number of an audit record", told(c.query.Get("from")))
	}
	return n, nil
}

const maxAction, maxFilter = 128, 1024

// auditFilter tells which records the caller wants to see.
func (c *call) auditFilter() (func(*fsmpb.Audit) bool, error) {
	for name, most := range map[string]int{"action": maxAction, "caller": maxFilter, "object": maxFilter} {
		if v := c.query.Get(name); c.query.Has(name) && (v == "" || len(v) > most) {
			return nil, badField(name, "want 1 to %d bytes", most)
		}
	}
	action, caller, object := c.query.Get("action"), c.query.Get("caller"), c.query.Get("object")
	return func(a *fsmpb.Audit) bool {
		return (action == "" || a.GetAction() == action || strings.HasSuffix(action, ".") && strings.HasPrefix(a.GetAction(), action)) &&
			(caller == "" || a.GetCaller().GetName() == caller) && (object == "" || a.GetObject() == object)
	}, nil
}

func auditHead(h audit.Head) wire.AuditHead {
	return wire.AuditHead{Seq: signed(h.Seq), Hash: h.Hash.String()}
}

func auditRecord(a *fsmpb.Audit) wire.AuditRecord {
	r := fsm.AuditRecord(a)
	return wire.AuditRecord{
		Seq: signed(r.Seq), Index: signed(r.Index), Term: signed(r.Term), Version: int64(r.Version), WallMs: r.WallMs,
		Caller: r.Caller, RequestID: r.RequestID, Action: r.Action, Object: r.Object, Outcome: r.Outcome,
		Detail: r.Detail, Hash: r.Hash.String(),
	}
}
