package node

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// rest goes on as after the restore of a backup that was made the moment the others were
// lost, since that is what this node's data are: keys rest, tokens are suspended, accounts
// and deposits are looked at anew, until an operator confirms it. It is done by the very
// commands that restore a backup, in a session of their own in this term, and returns
// the index that the state then is of.
func (s *stopped) rest(term uint64, r Recovery) (index uint64, err error) {
	var state bytes.Buffer
	view := s.machine.View()
	if _, err := view.WriteTo(&state); err != nil {
		return 0, fmt.Errorf("write the state: %w", err)
	}
	sum, was := sha256.Sum256(state.Bytes()), view.Meta()
	id := fmt.Sprintf("recovery-%d-%s", term, s.found.NodeID)
	a := &applier{machine: s.machine, index: s.found.LastIndex, term: term, session: term, recovery: r}
	a.apply(&fsmpb.Command{Body: &fsmpb.Command_BeginSession{BeginSession: &fsmpb.BeginSession{NodeId: s.found.NodeID}}})
	a.apply(&fsmpb.Command{Body: &fsmpb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &fsmpb.RaiseFeatureLevel{Level: fsm.FeatureLevel}}})
	sequence := uint32(0)
	for part := range slices.Chunk(state.Bytes(), fsm.MaxStagePart) {
		a.apply(&fsmpb.Command{Body: &fsmpb.Command_StageRestore{StageRestore: &fsmpb.StageRestore{RestoreId: id, Sequence: sequence, Data: part}}})
		sequence++
	}
	a.apply(&fsmpb.Command{Body: &fsmpb.Command_FinishRestore{FinishRestore: &fsmpb.FinishRestore{
		RestoreId: id, Sha256: sum[:], MadeWallMs: r.Now.UnixMilli(), Index: was.GetAppliedIndex(), ClusterId: was.GetClusterId(), Force: true,
	}}})
	if a.err != nil {
		return 0, fmt.Errorf("let the keys rest: %w", a.err)
	}
	if err := s.machine.View().Check(); err != nil {
		return 0, fmt.Errorf("the state after the recovery: %w", err)
	}
	return a.index, nil
}

// applier applies commands as log entries would be.
type applier struct {
	machine              *fsm.Machine
	index, term, session uint64
	recovery             Recovery
	err                  error
}

// apply does nothing any more after an error.
func (a *applier) apply(cmd *fsmpb.Command) {
	if a.err != nil {
		return
	}
	cmd.Version, cmd.WallMs = fsm.CommandVersion, a.recovery.Now.UnixMilli()
	if cmd.GetBeginSession() == nil {
		cmd.Session = a.session
		cmd.Caller = &fsmpb.Caller{Name: a.recovery.By, Role: "recovery"}
	}
	entry, err := proto.Marshal(&fsmpb.Batch{Commands: []*fsmpb.Command{cmd}})
	if err != nil {
		a.err = fmt.Errorf("encode: %w", err)
		return
	}
	a.index++
	results, err := a.machine.Apply(a.index, a.term, entry)
	if err == nil {
		err = results[0].Err()
	}
	a.err = err
}
