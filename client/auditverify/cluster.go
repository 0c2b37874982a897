package auditverify

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/fsm/audit"
)

// Source gives pages of a cluster's records; [client.Client] is one.
type Source interface {
	// AuditPage returns the records from a sequence number on that fit.
	AuditPage(ctx context.Context, f client.AuditFilter, from int64) (wire.AuditPage, error)
}

// walk follows a cluster's records.
type walk struct {
	*Report
	chain   *audit.Chain
	firsts  map[uint64]audit.Record // of the runs of files
	lasts   []audit.Head
	fileEnd uint64
	next    audit.Record // the cluster's record behind that end
}

// Cluster verifies everything that a cluster keeps, and compares it with files,
// which were read before, and with the heads that the files did not have. The
// error is an [audit.BrokenError], wraps [ErrDifferent] or [ErrIncomplete], or is
// that of asking. If all records were read, the report comes with it.
func Cluster(ctx context.Context, source Source, s *Shipped, b Bounds) (*Report, error) {
	w := &walk{Report: &Report{}, firsts: make(map[uint64]audit.Record), fileEnd: s.end()}
	s.fill(w.Report)
	for _, run := range s.runs {
		w.firsts[run.first.Seq] = run.first
		w.lasts = append(w.lasts, run.last)
	}
	for from, more := int64(0), true; more; {
		page, err := source.AuditPage(ctx, client.AuditFilter{}, from)
		if err != nil {
			return nil, fmt.Errorf("verify the audit log: %w", err)
		}
		if err := w.page(page, s.unseen); err != nil {
			return nil, err
		}
		from, more = page.NextFrom, page.NextFrom != 0
	}
	s.beginning(w.Report, w.Anchor.Seq+1)
	return w.Report, errors.Join(w.conclude(s), s.lag(w.Report, w.next, b), w.incomplete(b))
}

// page verifies one page. The first one names the anchor; later ones have to
// follow, unless records were dropped meanwhile.
func (w *walk) page(page wire.AuditPage, noted []audit.Head) error {
	anchor, err := client.AuditHead(page.Anchor)
	if err != nil {
		return err //nolint:wrapcheck // says what it is
	}
	if w.chain == nil {
		w.Anchor, w.chain = anchor, audit.NewChain(anchor)
		w.chain.Expect(noted...)
		w.chain.Expect(w.lasts...)
		if anchor.Seq > 0 && len(anchor.Hash) == 0 {
			w.Notes = append(w.Notes, fmt.Sprintf("record %d is taken at its word: the hash before it is not known", anchor.Seq+1))
		}
	}
	if anchor.Seq > w.chain.Head().Seq || w.Records == 0 {
		if w.Records > 0 {
			w.Notes = append(w.Notes, fmt.Sprintf("records %d to %d were dropped while this was reading", w.chain.Head().Seq+1, anchor.Seq))
		}
		if err := w.chain.Skip(anchor); err != nil {
			return err //nolint:wrapcheck // names the record
		}
	}
	for _, each := range page.Records {
		if err := w.record(each); err != nil {
			return err
		}
	}
	if page.NextFrom == 0 {
		return w.end(page)
	}
	return nil
}

func (w *walk) record(each wire.AuditRecord) error {
	r, err := client.AuditRecord(each)
	if err != nil {
		return err //nolint:wrapcheck // says what it is
	}
	if err := w.chain.Next(r); err != nil {
		return err //nolint:wrapcheck // names the record
	}
	if first, shipped := w.firsts[r.Seq]; shipped && !reflect.DeepEqual(first, r) {
		return fmt.Errorf("%w: record %d of the cluster is not the one of the file", ErrDifferent, r.Seq)
	}
	if r.Seq == w.fileEnd+1 {
		w.next = r
	}
	w.Records++
	return nil
}

// end compares the last page with what the cluster says its newest record is.
func (w *walk) end(page wire.AuditPage) error {
	head, err := client.AuditHead(page.Head)
	if err != nil {
		return err //nolint:wrapcheck // says what it is
	}
	w.Head = w.chain.Head()
	if head.String() != w.Head.String() {
		return &audit.BrokenError{Seq: w.Head.Seq, Why: fmt.Sprintf("the cluster says that its newest record is %s", head)}
	}
	return nil
}

// conclude says what became of heads and runs that no record came up to.
func (w *walk) conclude(s *Shipped) error {
	var errs []error
	for _, h := range w.chain.Unseen() {
		switch {
		case h.Seq > w.Head.Seq:
			errs = append(errs, fmt.Errorf("%w: record %d was there and the newest one is %d: history was cut back", ErrDifferent, h.Seq, w.Head.Seq))
		case contains(s.unseen, h):
			errs = append(errs, fmt.Errorf("%w: record %d was noted and is kept no more: give the files that have it", ErrDifferent, h.Seq))
		default:
			w.Notes = append(w.Notes, fmt.Sprintf("the file's records up to %d are kept no more, so they were verified by themselves only", h.Seq))
		}
	}
	return errors.Join(errs...)
}

func contains(list []audit.Head, h audit.Head) bool {
	for _, each := range list {
		if each.String() == h.String() {
			return true
		}
	}
	return false
}
