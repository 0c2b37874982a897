package auditlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/audit"
	"github.com/keysteward/keysteward/node"
)

// Times of the shipping.
const (
	// gather is how long records are waited for that come with others, so that
	// they share a sync of the disk.
	gather = 200 * time.Millisecond
	// firstRetry, doubled each time up to lastRetry, is the wait after a failure.
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// batchRecords is how many records share one sync at most: more than a busy cluster makes
// while they are gathered.
const batchRecords = 4000

// Config says what is shipped where.
type Config struct {
	// Path of the file. It is made with mode 0600 if it is not there.
	Path string
	// StateFile remembers the last record that was written, so that a file that
	// was rotated away leaves neither a gap nor a repeat. It lies with the node's data.
	StateFile string
	// View is the state as the node has applied it.
	View func() *fsm.View
	// Logger and Metrics may be nil.
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// Shipper appends a node's audit records to a file. Its file is open, and locked
// against other processes, until Close.
type Shipper struct {
	cfg     Config
	log     *slog.Logger
	out     *output
	metrics *metrics

	// last line that is surely on disk.
	last atomic.Pointer[audit.Head]
	// restores is the number of the restore in whose history that line is.
	restores uint64
	trouble  atomic.Pointer[string]
}

// Open opens the file and mends a torn last line. A file that holds something
// else than audit records is refused and stays as it is.
func Open(cfg Config) (*Shipper, error) {
	s := &Shipper{cfg: cfg, log: cfg.Logger, metrics: newMetrics()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	remembered, restores, err := readState(cfg.StateFile)
	if err != nil {
		return nil, err
	}
	s.restores = restores
	s.last.Store(&remembered)
	if err := s.reopen(); err != nil {
		return nil, err
	}
	if cfg.Metrics != nil {
		for _, c := range s.metrics.collectors(s) {
			if err := cfg.Metrics.Register(c); err != nil {
				return nil, errors.Join(fmt.Errorf("metrics of the audit file: %w", err), s.Close())
			}
		}
	}
	return s, nil
}

// Close gives the file back. Run must have returned.
func (s *Shipper) Close() error {
	out := s.out
	s.out = nil
	if out == nil {
		return nil
	}
	return out.close()
}

// Run ships records until the context ends, which is no error. It may be called once.
func (s *Shipper) Run(ctx context.Context) error {
	retry := firstRetry
	for ctx.Err() == nil {
		view := s.cfg.View()
		changes := view.WatchAudit()
		more, err := s.ship(view)
		switch s.tell(err); {
		case err != nil:
			pause(ctx, retry)
			retry = min(2*retry, lastRetry)
			continue
		case more:
			continue
		}
		retry = firstRetry
		if changes.Wait(ctx.Done()) {
			pause(ctx, gather)
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// ship writes one batch of what the view has and the file has not, and reports
// whether there is more.
func (s *Shipper) ship(view *fsm.View) (more bool, err error) {
	batch, more := s.next(view)
	if len(batch) == 0 {
		return false, nil
	}
	reopened, err := s.reopenIfMoved()
	if err != nil {
		return false, err
	}
	if reopened { // what follows in that file is something else, or nothing
		if batch, more = s.next(view); len(batch) == 0 {
			return false, nil
		}
	}
	if err := s.out.append(batch); err != nil {
		s.drop() // and whatever is torn is mended when it is opened again
		return false, err
	}
	s.restores = max(s.restores, view.Meta().GetRestore().GetNumber())
	return more, s.wrote(batch)
}

// next lists the lines that follow what was written last, a batch at most. After a
// restore history is another one, also where its numbers go back.
func (s *Shipper) next(view *fsm.View) (lines []audit.Line, more bool) {
	last, anchor, head := *s.last.Load(), view.AuditAnchor(), view.AuditHead()
	if n := view.Meta().GetRestore().GetNumber(); n > s.restores && last.Seq > 0 {
		lines = append(lines, audit.Line{Gap: &audit.Gap{
			First: anchor.Seq + 1, Last: anchor.Seq, Anchor: anchor.Hash,
			Reason: fmt.Sprintf("history is another one: a backup was restored (restore %d), and what was written before it up to record %d is not part of it; all records that are kept follow", n, last.Seq),
		}})
		return follow(view, lines, anchor.Seq+1)
	}
	if head.Seq < last.Seq {
		return nil, false // this node has not come as far again since it was started
	}
	from := last.Seq + 1
	if g := gapAfter(view, last, anchor); g != nil {
		lines, from = append(lines, audit.Line{Gap: g}), g.Last+1
	}
	return follow(view, lines, from)
}

// follow adds the records from a number on.
func follow(view *fsm.View, lines []audit.Line, from uint64) (_ []audit.Line, more bool) {
	for r := range view.AuditRecords(from) {
		if len(lines) >= batchRecords {
			return lines, true
		}
		lines = append(lines, audit.Line{Record: &r})
	}
	return lines, false
}

// gapAfter says what is lacking behind the last line, nil if nothing is.
func gapAfter(view *fsm.View, last, anchor audit.Head) *audit.Gap {
	if anchor.Seq > last.Seq {
		return &audit.Gap{First: last.Seq + 1, Last: anchor.Seq, Anchor: anchor.Hash, Reason: "these records were dropped before they could be written here"}
	}
	now := anchor
	if a := view.AuditBy(last.Seq); a != nil {
		now = audit.Head{Seq: last.Seq, Hash: a.GetHash()}
	}
	if now.Seq == last.Seq && len(now.Hash) > 0 && len(last.Hash) > 0 && now.Hash.String() != last.Hash.String() {
		return &audit.Gap{
			First: anchor.Seq + 1, Last: anchor.Seq, Anchor: anchor.Hash,
			Reason: fmt.Sprintf("history is another one: record %d was %s and is %s; all records that are kept follow", last.Seq, last.Hash, now.Hash),
		}
	}
	return nil
}

// wrote remembers how far the file has come.
func (s *Shipper) wrote(batch []audit.Line) error {
	last := headOf(batch[len(batch)-1])
	s.last.Store(&last)
	for _, l := range batch {
		if l.Gap != nil {
			s.log.Warn("the audit file lacks records", "first", l.Gap.First, "last", l.Gap.Last, "reason", l.Gap.Reason)
			continue
		}
		s.metrics.written.Inc()
	}
	return writeState(s.cfg.StateFile, last, s.restores)
}

func headOf(l audit.Line) audit.Head {
	if l.Gap != nil {
		return audit.Head{Seq: l.Gap.Last, Hash: l.Gap.Anchor}
	}
	return audit.Head{Seq: l.Record.Seq, Hash: l.Record.Hash}
}

// tell logs when trouble begins and when it ends.
func (s *Shipper) tell(err error) {
	if err == nil {
		if s.trouble.Swap(nil) != nil {
			s.log.Info("audit records are written to the file again", "file", s.cfg.Path)
		}
		return
	}
	s.metrics.errors.Inc()
	text := err.Error()
	if s.trouble.Swap(&text) == nil {
		s.log.Error("audit records can not be written to the file; the cluster keeps them meanwhile, up to a number", "file", s.cfg.Path, "error", err)
	}
}

// Check is a line for /readyz. What is wrong with the file is no reason to send
// callers elsewhere, so it does not make the node unready.
func (s *Shipper) Check() node.Check {
	c := node.Check{Name: "audit-file", OK: true, Detail: fmt.Sprintf("written up to record %d", s.last.Load().Seq)}
	if head := s.cfg.View().AuditHead().Seq; head < s.last.Load().Seq {
		c.Detail += fmt.Sprintf("; this node has applied them up to %d", head)
	}
	if t := s.trouble.Load(); t != nil {
		c.OK, c.Detail = false, fmt.Sprintf("not written since record %d: %s", s.last.Load().Seq, *t)
	}
	return c
}

// Lag is how many records of the state are not in the file.
func (s *Shipper) Lag() uint64 {
	head, last := s.cfg.View().AuditHead().Seq, s.last.Load().Seq
	return max(head, last) - last
}
