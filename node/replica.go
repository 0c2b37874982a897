package node

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node/failpoint"
)

// replica feeds the committed log to the state machine. An entry that can not
// be applied ends the process, and nothing after it is applied or kept in a
// snapshot: going on would make this node differ for good.
type replica struct {
	machine *fsm.Machine
	fail    func(error)
	metrics *metrics
	dataDir string
	// live is set once the node runs: before, Raft tries older snapshots itself.
	live   atomic.Bool
	broken atomic.Bool
	// members is the index of the newest committed entry about members, 0 if there was
	// none since the start or the last snapshot that was restored.
	members atomic.Uint64
}

var _ raft.BatchingFSM = (*replica)(nil)

// errBroken says that an earlier log entry could not be applied.
var errBroken = errors.New("an earlier log entry could not be applied")

func (r *replica) breakDown(err error) {
	r.broken.Store(true)
	r.fail(err)
}

// Apply implements raft.FSM; the response is an appliedEntry or an error.
func (r *replica) Apply(l *raft.Log) any {
	if r.broken.Load() {
		return errBroken
	}
	began := time.Now()
	results, err := r.machine.Apply(l.Index, l.Term, failpoint.Entry(l.Data))
	if errors.Is(err, fsm.ErrDiverged) {
		err = fmt.Errorf("%w; keep its data folder for whoever looks into it, and start the node with an empty one: it is let in anew", err)
	}
	if err != nil {
		r.breakDown(err)
		return err
	}
	return appliedEntry{results: results, began: began, ended: time.Now()}
}

// ApplyBatch implements raft.BatchingFSM.
func (r *replica) ApplyBatch(logs []*raft.Log) []any {
	answers := make([]any, len(logs))
	for i, l := range logs {
		switch l.Type {
		case raft.LogCommand:
			answers[i] = r.Apply(l)
		case raft.LogConfiguration:
			r.members.Store(l.Index)
		default:
		}
	}
	return answers
}

// Snapshot implements raft.FSM: it only takes a view.
func (r *replica) Snapshot() (raft.FSMSnapshot, error) {
	if r.broken.Load() {
		return nil, errBroken
	}
	return snapshot{view: r.machine.View(), metrics: r.metrics, dataDir: r.dataDir}, nil
}

// Restore implements raft.FSM.
func (r *replica) Restore(in io.ReadCloser) error {
	if r.broken.Load() {
		return errBroken
	}
	r.members.Store(0)
	if err := r.machine.Restore(in); err != nil {
		err = fmt.Errorf("this node: %w", err)
		if r.live.Load() {
			r.breakDown(err)
		}
		return err
	}
	return nil
}

type snapshot struct {
	view    *fsm.View
	metrics *metrics
	dataDir string
}

// Persist implements raft.FSMSnapshot.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	began := time.Now()
	err := s.persist(sink)
	s.metrics.snapshot(err, time.Since(began))
	return err
}

func (s snapshot) persist(sink raft.SnapshotSink) error {
	if _, err := s.view.WriteTo(newPacedWriter(sink, syncSnapshot(s.dataDir, sink.ID))); err != nil {
		_ = sink.Cancel()
		return err //nolint:wrapcheck // says what it is
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("close snapshot: %w", err)
	}
	return nil
}

// Release implements raft.FSMSnapshot.
func (s snapshot) Release() {}
