package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/backup"
	"github.com/keysteward/keysteward/node/backup/making"
	"github.com/keysteward/keysteward/node/failpoint"
)

// Points at which tests stop a leader that makes a backup by itself.
const (
	// PointWritten: the file is there, and was not read back.
	PointWritten failpoint.Name = "backup-written"
	// PointProven: it was read back, and the old ones are still there.
	PointProven failpoint.Name = "backup-proven"
)

const (
	// MinEvery is the shortest time between two backups.
	MinEvery = time.Minute

	retryFirst = 30 * time.Second // after a failure, doubled each time
	retryMost  = 30 * time.Minute
	// An attempt ends by itself, so that a place that hangs is tried again.
	attemptLeast, attemptMost = 10 * time.Minute, 12 * time.Hour
	// takeBackTime is how long removing a file may take that is no backup after all.
	takeBackTime = 10 * time.Second
	// foundingPause is for a cluster that has no keyring yet.
	foundingPause = 5 * time.Second
	// ahead is how far the clock of another node may be ahead of ours.
	ahead = time.Minute
)

// Config says what goes where.
type Config struct {
	Store Store
	// Every is the time between two backups, at least [MinEvery].
	Every time.Duration
	// Keep is how many are kept; 0 keeps all.
	Keep int
	// Make prepares a backup of a state.
	Make func(view *fsm.View, now time.Time) (*making.Backup, error)
	// Logger and Metrics may be nil.
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// ErrConfig is wrapped by errors about a [Config].
var ErrConfig = errors.New("invalid schedule of backups")

// Schedule makes backups while its node leads.
type Schedule struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	begun   chan office
	// unproven are files that could not be read back. Only the worker knows them.
	unproven map[string]bool

	mu     sync.Mutex
	status Status
}

// office is a leadership that has begun.
type office struct {
	ctx  context.Context //nolint:containedctx // the life of the session
	view func() *fsm.View
}

// Status is how the backups are doing.
type Status struct {
	To    string
	Every time.Duration
	Keep  int
	// Next is when the next one is due; zero while this node does not lead.
	Next time.Time
	// Last is the newest backup that is there; without a name none is known.
	Last Entry
	// Failures in a row, and why the last one failed.
	Failures     int
	Code, Detail string
}

// New checks the configuration. Errors wrap [ErrConfig].
func New(cfg Config) (*Schedule, error) {
	switch {
	case cfg.Store == nil, cfg.Make == nil:
		return nil, fmt.Errorf("%w: no place, or nothing to make them", ErrConfig)
	case cfg.Every < MinEvery:
		return nil, fmt.Errorf("%w: every %v, at least %v", ErrConfig, cfg.Every, MinEvery)
	case cfg.Keep < 0:
		return nil, fmt.Errorf("%w: keep %d", ErrConfig, cfg.Keep)
	}
	s := &Schedule{
		cfg: cfg, log: cfg.Logger, metrics: newMetrics(), begun: make(chan office), unproven: make(map[string]bool),
		status: Status{To: cfg.Store.String(), Every: cfg.Every, Keep: cfg.Keep},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.metrics.every.Set(cfg.Every.Seconds())
	return s, s.metrics.register(cfg.Metrics)
}

// Status is how the backups of this node are doing.
func (s *Schedule) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Duty says that this node leads. It does no work itself: a folder on a network that
// hangs must not keep a session from ending.
func (s *Schedule) Duty() node.Duty {
	return node.DutyFunc("backups", func(ctx context.Context, session *node.Session) error {
		return s.lead(ctx, session.View)
	})
}

func (s *Schedule) lead(ctx context.Context, view func() *fsm.View) error {
	select {
	case s.begun <- office{ctx, view}:
		<-ctx.Done()
	case <-ctx.Done():
	}
	return ctx.Err() //nolint:wrapcheck // the end of the session
}

// Run works whenever this node leads, until the context ends, which is no error.
func (s *Schedule) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case o := <-s.begun:
			working, cancel := context.WithCancel(o.ctx)
			stop := context.AfterFunc(ctx, cancel)
			s.work(working, o.view) //nolint:contextcheck // the life of the session, and of ctx besides
			stop()
			cancel()
			s.note(func(st *Status) { st.Next = time.Time{} })
		}
	}
}

// work makes backups until the context ends.
func (s *Schedule) work(ctx context.Context, view func() *fsm.View) {
	retry := retryFirst
	for ctx.Err() == nil {
		due, err := s.step(ctx, view())
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.failed(err, retry)
			due, retry = time.Now().Add(retry), min(2*retry, retryMost)
		default:
			s.note(func(st *Status) { st.Failures, st.Code, st.Detail = 0, "", "" })
			retry = retryFirst
		}
		s.note(func(st *Status) { st.Next = due })
		timer, cancel := context.WithDeadline(ctx, due)
		<-timer.Done()
		cancel()
	}
}

// step makes a backup if one is due, and says when the next one is.
func (s *Schedule) step(ctx context.Context, view *fsm.View) (due time.Time, err error) {
	if view.Secret(fsm.SecretKeyring) == nil { // a cluster that was founded just now has nothing to keep
		return time.Now().Add(foundingPause), nil
	}
	ctx, cancel := context.WithTimeout(ctx, min(max(s.cfg.Every, attemptLeast), attemptMost))
	defer cancel()
	lineage := backup.Lineage(view.Meta().GetClusterId(), backup.HistoryOf(view.Meta().GetRestore().GetId()))
	all, err := s.cfg.Store.List(ctx)
	if err != nil {
		return due, fmt.Errorf("look for backups in %s: %w", s.cfg.Store, err)
	}
	all = slices.DeleteFunc(all, func(e Entry) bool { return s.unproven[e.Name] })
	now := time.Now()
	if last, ok := newest(ours(all, lineage), now); ok {
		s.know(last)
		if due := last.MadeAt.Add(s.cfg.Every); due.After(now) {
			return due, nil
		}
	}
	made, err := s.make(ctx, view, now)
	if err != nil {
		return due, err
	}
	failpoint.Reach(PointProven)
	s.know(made)
	s.log.Info("made a backup", "to", s.cfg.Store.String(), "name", made.Name, "bytes", made.Bytes, "took", time.Since(now).Round(time.Millisecond))
	s.prune(ctx, append(all, made), lineage, made.Name, now)
	return now.Add(s.cfg.Every), nil
}

// newest leaves out what claims to be of the future: a clock that was wrong once must
// not stop backups until then.
func newest(list []Entry, now time.Time) (Entry, bool) {
	for _, e := range list {
		if !e.MadeAt.After(now.Add(ahead)) {
			return e, true
		}
	}
	return Entry{}, false
}

// make writes a backup and reads it back.
func (s *Schedule) make(ctx context.Context, view *fsm.View, now time.Time) (Entry, error) {
	b, err := s.cfg.Make(view, now)
	if err != nil {
		return Entry{}, err
	}
	name := b.Manifest.Name()
	if err := s.cfg.Store.Put(ctx, name, b); err != nil {
		return Entry{}, fmt.Errorf("write %s to %s: %w", name, s.cfg.Store, err)
	}
	failpoint.Reach(PointWritten)
	size, err := s.readBack(ctx, name, b)
	if err != nil { // it must not pass for a backup, now or for the next leader
		s.unproven[name] = true
		return Entry{}, errors.Join(fmt.Errorf("read %s back from %s: %w", name, s.cfg.Store, err), s.takeBack(ctx, name))
	}
	return Entry{Name: name, MadeAt: b.Manifest.MadeAt, Bytes: size}, nil
}

// takeBack removes a file also when it was the end of ctx that kept it from being read.
func (s *Schedule) takeBack(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeBackTime)
	defer cancel()
	return s.cfg.Store.Remove(ctx, name) //nolint:wrapcheck // the caller says what it is about
}

func (s *Schedule) readBack(ctx context.Context, name string, b *making.Backup) (int64, error) {
	in, err := s.cfg.Store.Open(ctx, name)
	if err != nil {
		return 0, err //nolint:wrapcheck // the caller says what it is about
	}
	defer func() { _ = in.Close() }()
	counted := &counter{in: in}
	m, _, err := backup.Verify(counted, b.Key())
	switch {
	case err != nil:
		return 0, s.cfg.Store.Reason(err) //nolint:wrapcheck // the caller says what it is about
	case m.FileID != b.Manifest.FileID:
		return 0, fmt.Errorf("%w: it is another file", ErrUnlike)
	}
	return counted.n, nil
}

// prune removes the oldest backups of this lineage beyond those that are kept. What it
// can not remove is tried again after the next backup.
func (s *Schedule) prune(ctx context.Context, all []Entry, lineage, made string, now time.Time) {
	// One that a clock which was ahead made tells nothing of what is new.
	list := slices.DeleteFunc(ours(all, lineage), func(e Entry) bool { return e.MadeAt.After(now.Add(ahead)) })
	if s.cfg.Keep == 0 || len(list) <= s.cfg.Keep {
		return
	}
	for _, e := range list[s.cfg.Keep:] {
		if e.Name == made {
			continue // of a clock that is behind the others'
		}
		if err := s.cfg.Store.Remove(ctx, e.Name); err != nil {
			s.metrics.failures.WithLabelValues(reasonOf(err)).Inc()
			s.log.Warn("an old backup can not be removed", "name", e.Name, "error", err)
			return
		}
		s.log.Info("removed an old backup", "name", e.Name)
	}
}

func (s *Schedule) know(e Entry) {
	s.metrics.last.Set(float64(e.MadeAt.Unix()))
	s.metrics.size.Set(float64(e.Bytes))
	s.note(func(st *Status) { st.Last = e })
}

func (s *Schedule) failed(err error, retry time.Duration) {
	code := reasonOf(err)
	s.metrics.failures.WithLabelValues(code).Inc()
	s.log.Error("a scheduled backup failed", "to", s.cfg.Store.String(), "reason", code, "error", err, "again", retry)
	s.note(func(st *Status) { st.Failures, st.Code, st.Detail = st.Failures+1, code, err.Error() })
}

func (s *Schedule) note(change func(*Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.status)
}
