package clienttest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm/audit"
)

// AuditLog is the audit log of a fake cluster. It is not safe for concurrent use.
type AuditLog struct {
	Anchor  audit.Head
	Records []audit.Record
	// PageSize is how many records a page has; 0 is 1000.
	PageSize int
}

// NewAuditLog makes n records that follow from each other.
func NewAuditLog(n int) *AuditLog {
	l := &AuditLog{}
	l.Add(n)
	return l
}

// Add makes n more records.
func (l *AuditLog) Add(n int) {
	for range n {
		seq := l.Head().Seq + 1
		r := audit.Record{
			Seq: seq, Index: 10 + seq, Term: 2, Version: audit.Version, WallMs: 1_893_553_445_000 + int64(seq)*1000, //nolint:gosec // small
			Caller:    map[string]string{audit.CallerName: "ops", audit.CallerRole: "admin", audit.CallerRemote: "192.0.2.1"},
			RequestID: fmt.Sprintf("r-%d", seq), Action: "key.disclose", Object: fmt.Sprintf("default/web-%d", seq%3),
			Outcome: audit.OutcomeDone, Detail: "2 keys",
		}
		l.Records = append(l.Records, r)
		l.Chain(len(l.Records) - 1)
	}
}

// Chain computes the hashes anew from the record with this place on.
func (l *AuditLog) Chain(from int) {
	for i := from; i < len(l.Records); i++ {
		before := l.Anchor.Hash
		if i > 0 {
			before = l.Records[i-1].Hash
		}
		sum, err := l.Records[i].Sum(before)
		if err != nil {
			panic(err)
		}
		l.Records[i].Hash = sum
	}
}

// Drop forgets the oldest n records.
func (l *AuditLog) Drop(n int) {
	r := l.Records[n-1]
	l.Anchor, l.Records = audit.Head{Seq: r.Seq, Hash: r.Hash}, slices.Clone(l.Records[n:])
}

// Head is the newest record.
func (l *AuditLog) Head() audit.Head {
	if n := len(l.Records); n > 0 {
		return audit.Head{Seq: l.Records[n-1].Seq, Hash: l.Records[n-1].Hash}
	}
	return l.Anchor
}

// Page answers as the API does; an empty filter fits all.
func (l *AuditLog) Page(action, caller, object string, from int64) wire.AuditPage {
	head := func(h audit.Head) wire.AuditHead {
		return wire.AuditHead{Seq: int64(h.Seq), Hash: h.Hash.String()} //nolint:gosec // small
	}
	page := wire.AuditPage{Records: []wire.AuditRecord{}, Anchor: head(l.Anchor), Head: head(l.Head())}
	size := l.PageSize
	if size == 0 {
		size = 1000
	}
	for _, r := range l.Records {
		fits := (action == "" || r.Action == action) && (caller == "" || r.Caller[audit.CallerName] == caller) && (object == "" || r.Object == object)
		if int64(r.Seq) < from || !fits { //nolint:gosec // small
			continue
		}
		if len(page.Records) == size {
			page.NextFrom = int64(r.Seq) //nolint:gosec // small
			break
		}
		page.Records = append(page.Records, wire.AuditRecord{
			Seq: int64(r.Seq), Index: int64(r.Index), Term: int64(r.Term), Version: int64(r.Version), WallMs: r.WallMs, //nolint:gosec // small
			Caller: r.Caller, RequestID: r.RequestID, Action: r.Action, Object: r.Object, Outcome: r.Outcome, Detail: r.Detail, Hash: r.Hash.String(),
		})
	}
	return page
}

// Serve answers GET /v1/audit and reports whether the request was one.
func (l *AuditLog) Serve(_ int, w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodGet || r.URL.Path != "/v1/audit" {
		return false
	}
	q := r.URL.Query()
	from, _ := strconv.ParseInt(q.Get("from"), 10, 64)
	answer(w, http.StatusOK, l.Page(q.Get("action"), q.Get("caller"), q.Get("object"), from))
	return true
}

// Lines are the records as a node ships them.
func (l *AuditLog) Lines() []byte {
	var all []byte
	for _, r := range l.Records {
		text, err := audit.Line{Record: &r}.Encode()
		if err != nil {
			panic(err)
		}
		all = append(all, text...)
	}
	return all
}
