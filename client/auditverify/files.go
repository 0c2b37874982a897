package auditverify

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/keysteward/keysteward/fsm/audit"
)

// File is one file of JSON lines.
type File struct {
	Name string
	io.Reader
}

// Shipped is what files have, as far as a cluster can be compared with it.
type Shipped struct {
	files   int
	start   uint64 // the first record that is there, or is said to be lacking
	runs    []run
	records int
	gaps    []audit.Gap
	notes   []string
	unseen  []audit.Head // noted heads that no record came up to
}

// run is records without a gap between them.
type run struct {
	first audit.Record
	last  audit.Head
}

// reader follows the lines of all files.
type reader struct {
	*Shipped
	chain *audit.Chain
	begun bool // a record was read
	fresh bool // the next record begins a run
	noted []audit.Head
}

// ReadFiles verifies files of JSON lines, the oldest first, and the heads that
// were noted where the files have them. Between two files records may be lacking,
// which is a gap; within one that takes a line that says so. A file without a line
// is an error. The error is an [audit.BrokenError] or wraps [ErrDifferent],
// [ErrIncomplete], [audit.ErrLine] or that of reading.
func ReadFiles(files []File, noted []audit.Head) (*Shipped, error) {
	r := &reader{Shipped: &Shipped{files: len(files)}, chain: audit.NewChain(audit.Head{}), fresh: true, noted: slices.Clone(noted)}
	for _, f := range files {
		if err := r.file(f); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	if r.unseen = r.noted; r.given() && r.records == 0 {
		return nil, fmt.Errorf("%w: they have no record", ErrIncomplete)
	}
	return r.Shipped, nil
}

func (r *reader) file(f File) error {
	begin := true
	for line, err := range audit.ReadLines(f) {
		switch {
		case errors.Is(err, audit.ErrTorn):
			if begin {
				return fmt.Errorf("%w: there is no whole line in it: %w", ErrIncomplete, err)
			}
			r.note("%s: %v; it is left out", f.Name, err)
			return nil
		case err != nil:
			return err //nolint:wrapcheck // names the line
		case line.Gap != nil:
			err = r.gap(*line.Gap, begin)
		default:
			err = r.record(*line.Record, begin)
		}
		if err != nil {
			return err
		}
		begin = false
	}
	if begin {
		return fmt.Errorf("%w: the file is empty: it was cut, or was rotated a moment ago (then leave it out)", ErrIncomplete)
	}
	return nil
}

func (r *reader) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// gap goes on behind records that a line says are lacking.
func (r *reader) gap(g audit.Gap, begin bool) error {
	if r.begun && g.First > g.Last {
		return fmt.Errorf("%w: behind record %d: %s", ErrDifferent, r.chain.Head().Seq, g.Reason)
	}
	if want := r.chain.Head().Seq + 1; r.begun && g.First != want && (!begin || g.First < want) {
		return &audit.BrokenError{Seq: want, Why: fmt.Sprintf("a gap from record %d stands in its place", g.First)}
	}
	if g.First <= g.Last {
		r.gaps = append(r.gaps, g)
	}
	r.starts(g.First)
	r.begin(audit.Head{Seq: g.Last, Hash: g.Anchor})
	return nil
}

func (r *reader) record(rec audit.Record, begin bool) error {
	want := r.chain.Head().Seq + 1
	switch {
	case !r.begun && r.fresh && rec.Seq > 1 && r.chain.Head().Seq == 0: // the files begin later than the cluster
		r.begin(audit.Head{Seq: rec.Seq - 1})
	case begin && rec.Seq > want:
		r.gaps = append(r.gaps, audit.Gap{First: want, Last: rec.Seq - 1, Reason: "no file has these records"})
		r.begin(audit.Head{Seq: rec.Seq - 1})
	}
	if err := r.chain.Next(rec); err != nil {
		return err //nolint:wrapcheck // names the record
	}
	r.starts(rec.Seq)
	if r.fresh {
		r.runs = append(r.runs, run{first: rec})
	}
	head := r.chain.Head()
	r.runs[len(r.runs)-1].last = head
	for _, h := range r.noted {
		if h.Seq == head.Seq && h.String() != head.String() {
			return fmt.Errorf("%w: record %s was noted as %s", ErrDifferent, head, h.Hash)
		}
	}
	r.noted = slices.DeleteFunc(r.noted, func(h audit.Head) bool { return h.Seq == head.Seq })
	r.begun, r.fresh = true, false
	r.records++
	return nil
}

// starts notes where the files begin.
func (r *reader) starts(seq uint64) {
	if r.start == 0 {
		r.start = seq
	}
}

// begin starts another run. Heads that were noted go on being looked for.
func (r *reader) begin(anchor audit.Head) {
	r.chain = audit.NewChain(anchor)
	r.fresh = true
}

// Report is what files alone tell. It comes with errors that wrap [ErrDifferent]
// or [ErrIncomplete], too.
func (s *Shipped) Report(b Bounds) (*Report, error) {
	r := &Report{Records: -1}
	s.fill(r)
	s.beginning(r, 1)
	if n := len(s.runs); n > 0 {
		r.Head = s.runs[n-1].last
		r.Notes = append(r.Notes, fmt.Sprintf("no cluster was asked: nothing says whether records behind %d are missing", r.Head.Seq))
	}
	var errs []error
	for _, h := range s.unseen {
		if h.Seq > s.end() {
			errs = append(errs, fmt.Errorf("%w: the file ends at record %d and record %d was noted: it was cut", ErrIncomplete, s.end(), h.Seq))
			continue
		}
		errs = append(errs, fmt.Errorf("%w: no file has record %d, which was noted", ErrIncomplete, h.Seq))
	}
	return r, errors.Join(append(errs, r.incomplete(b))...)
}

func (s *Shipped) fill(r *Report) {
	if len(s.runs) > 0 {
		r.FileFirst, r.FileLast = s.runs[0].first.Seq, s.end()
	}
	r.FileRecords, r.Gaps, r.Notes = s.records, append([]audit.Gap{}, s.gaps...), append([]string{}, s.notes...)
}
