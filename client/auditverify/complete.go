package auditverify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/fsm/audit"
)

// ErrIncomplete is wrapped by errors which say that files lack records that they
// should have. What they do have is as it was.
var ErrIncomplete = errors.New("the audit files are not complete")

// fresh is how old a record may be that the node has not yet written to its file.
// It gathers records for a part of a second; the rest is for clocks that differ.
const fresh = 5 * time.Second

// Bounds say what files may lack.
type Bounds struct {
	// Newest is the cluster's newest record before the files were read, see [Newest].
	// The zero head says that nobody asked, so that nothing is known of their end.
	Newest audit.Head
	// Asked is when Newest was asked for. Up to Newest the files may lack what is
	// not older than 5 s then, by the wall clock of the records.
	Asked time.Time
	// MaxLag is how many records up to Newest they may lack, of whatever age.
	MaxLag uint64
	// AllowGaps accepts records that are lacking before or between others.
	AllowGaps bool
}

// Newest asks a cluster for its newest record. It is to be asked for before files
// are read: all that was there by then should be in them.
func Newest(ctx context.Context, source Source) (audit.Head, error) {
	page, err := source.AuditPage(ctx, client.AuditFilter{}, math.MaxInt64)
	if err != nil {
		return audit.Head{}, fmt.Errorf("newest audit record: %w", err)
	}
	return client.AuditHead(page.Head) //nolint:wrapcheck // says what it is
}

// given reports whether there were files.
func (s *Shipped) given() bool { return s.files > 0 }

// end is the last record of the files, 0 if they have none.
func (s *Shipped) end() uint64 {
	if len(s.runs) == 0 {
		return 0
	}
	return s.runs[len(s.runs)-1].last.Seq
}

// beginning adds a gap to the report if the files begin behind the oldest record
// that they could have.
func (s *Shipped) beginning(r *Report, oldest uint64) {
	if s.given() && s.start > oldest {
		r.Gaps = append([]audit.Gap{{First: oldest, Last: s.start - 1, Reason: "no file has these records, the first one begins behind them"}}, r.Gaps...)
	}
}

// incomplete is the error of gaps.
func (r *Report) incomplete(b Bounds) error {
	if len(r.Gaps) == 0 || b.AllowGaps {
		return nil
	}
	g := r.Gaps[0]
	err := fmt.Errorf("%w: records %d to %d are lacking: %s", ErrIncomplete, g.First, g.Last, g.Reason)
	if n := len(r.Gaps) - 1; n > 0 {
		err = fmt.Errorf("%w (and %d more gaps)", err, n)
	}
	return err
}

// lag is the error of files that end too early. Next is the cluster's record
// behind their end, the zero record if it has none.
func (s *Shipped) lag(r *Report, next audit.Record, b Bounds) error {
	end := s.end()
	if !s.given() || end >= b.Newest.Seq {
		return nil
	}
	switch behind := b.Newest.Seq - end; {
	case behind <= b.MaxLag:
		r.Notes = append(r.Notes, fmt.Sprintf("the files lack the newest %d records, up to %d, which is allowed", behind, b.Newest.Seq))
	case next.Seq == end+1 && b.Asked.Sub(time.UnixMilli(next.WallMs)).Abs() <= fresh:
		r.Notes = append(r.Notes, fmt.Sprintf("records %d to %d are not in the files yet: they are not older than %s", end+1, b.Newest.Seq, fresh))
	default:
		return fmt.Errorf("%w: the file ends at record %d, the cluster's newest is %d: it was cut, or the node that writes it is stopped", ErrIncomplete, end, b.Newest.Seq)
	}
	return nil
}
