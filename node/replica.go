package node

import (
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"github.com/keysteward/keysteward/fsm"
)

// replica feeds the committed log to the state machine. An entry that can not
// be applied ends the process: going on would make this node differ.
type replica struct {
	machine *fsm.Machine
	fail    func(error)
}

var _ raft.BatchingFSM = (*replica)(nil)

// Apply implements raft.FSM; the response is a []fsm.Result or an error.
func (r *replica) Apply(l *raft.Log) any {
	results, err := r.machine.Apply(l.Index, l.Term, l.Data)
	if err != nil {
		r.fail(err)
		return err
	}
	return results
}

// ApplyBatch implements raft.BatchingFSM.
func (r *replica) ApplyBatch(logs []*raft.Log) []any {
	answers := make([]any, len(logs))
	for i, l := range logs {
		if l.Type == raft.LogCommand {
			answers[i] = r.Apply(l)
		}
	}
	return answers
}

// Snapshot implements raft.FSM: it only takes a view.
func (r *replica) Snapshot() (raft.FSMSnapshot, error) { return snapshot{r.machine.View()}, nil }

// Restore implements raft.FSM.
func (r *replica) Restore(in io.ReadCloser) error {
	err := r.machine.Restore(in)
	if err != nil {
		return fmt.Errorf("this node: %w", err)
	}
	return nil
}

type snapshot struct{ view *fsm.View }

// Persist implements raft.FSMSnapshot.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := s.view.WriteTo(sink); err != nil {
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
