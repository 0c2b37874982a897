package restoring

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/backup"
	"github.com/keysteward/keysteward/node/failpoint"
)

// Points at which tests stop a leader that restores a backup.
const (
	// PointPartStaged: a part is staged, and more may come.
	PointPartStaged failpoint.Name = "restore-part-staged"
	// PointAllStaged: all is staged, and nothing of it is the state yet.
	PointAllStaged failpoint.Name = "restore-all-staged"
	// PointFinished: the backup is the state, and nobody was told.
	PointFinished failpoint.Name = "restore-finished"
)

// Proposer is what a restore goes through: the node that leads.
type Proposer interface {
	// View returns the applied state.
	View() *fsm.View
	// Propose has the command agreed on and applied, see [node.Node.Propose].
	Propose(ctx context.Context, cmd *fsmpb.Command) (any, error)
}

const (
	// partTries is how often a part is proposed whose outcome is not known.
	partTries = 5
	// finishTimeout is for the last command, in which every member reads the whole state.
	finishTimeout = 10 * time.Minute
	// awaitTimeout is for finding out what became of it.
	awaitTimeout = time.Minute
	// abandonTimeout is for tidying up.
	abandonTimeout = 10 * time.Second
	// tellEvery is the time between two lines of the log about how far it is.
	tellEvery = 5 * time.Second
)

// Done is a restore that happened.
type Done struct {
	// Number counts the restores of the cluster.
	Number uint64
}

var errNotExamined = errors.New("the state in the backup was not examined")

// Ask is who restores, for the audit record.
type Ask struct {
	Caller    *fsmpb.Caller
	RequestID string
}

// Restore stages the backup and puts it in the place of the state. If the error wraps
// [node.ErrUnknownOutcome] it may still have happened; otherwise the state is what it
// was. Repeating it with the same file is another restore.
func (f *File) Restore(ctx context.Context, p Proposer, ask Ask, w Wish) (Done, error) {
	if !f.examined {
		return Done{}, errNotExamined
	}
	id := backup.NewFileID()
	log := f.of.Logger.With("restore", id, "file", f.Manifest.FileID)
	log.Warn("a backup is being restored", "cluster", f.Manifest.ClusterID, "index", f.Manifest.Index, "madeAt", f.Manifest.MadeAt,
		"bytes", f.Trailer.Bytes, "caller", ask.Caller.GetName(), "replaces", w.Replace, "force", w.Force)
	command := func() *fsmpb.Command { return &fsmpb.Command{Caller: ask.Caller, RequestId: ask.RequestID} }
	if err := f.stage(ctx, p, command, id); err != nil {
		log.Error("the restore failed; the state is what it was", "error", err)
		f.abandon(ctx, p, command, id)
		return Done{}, err
	}
	number, err := f.finish(ctx, p, command, id, w)
	switch {
	case errors.Is(err, node.ErrUnknownOutcome):
		log.Error("whether the backup was restored is not known", "error", err)
		return Done{}, err
	case err != nil:
		log.Error("the restore failed; the state is what it was", "error", err)
		if !errors.Is(err, errForgotten) { // what was staged is gone then
			f.abandon(ctx, p, command, id)
		}
		return Done{}, err
	}
	log.Warn("the backup was restored; an operator has to confirm it", "number", number)
	return Done{Number: number}, nil
}

// stage proposes the stream part by part. It is authenticated once more on its way: the
// disk may have changed it.
func (f *File) stage(ctx context.Context, p Proposer, command func() *fsmpb.Command, id string) error {
	h, err := f.rewind()
	if err != nil {
		return err
	}
	in, err := backup.NewReader(bufio.NewReaderSize(f.file, 1<<20), h, &f.key)
	if err != nil {
		return err //nolint:wrapcheck // says what it is
	}
	told, sent := time.Now(), int64(0)
	for sequence := uint32(0); ; sequence++ {
		data := make([]byte, fsm.MaxStagePart) // it belongs to the command
		n, err := io.ReadFull(in, data)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err //nolint:wrapcheck // says what it is
		}
		cmd := command()
		cmd.Body = &fsmpb.Command_StageRestore{StageRestore: &fsmpb.StageRestore{RestoreId: id, Sequence: sequence, Data: data[:n]}}
		switch err := repeat(ctx, p, cmd, partTries); {
		case errors.Is(err, node.ErrUnknownOutcome): // of a part; the state is what it was
			return fmt.Errorf("%w at part %d: %v", ErrStaging, sequence, err) //nolint:errorlint // not to be taken for an unknown restore
		case err != nil:
			return fmt.Errorf("stage part %d of the backup: %w", sequence, err)
		}
		failpoint.Reach(PointPartStaged)
		if sent += int64(n); time.Since(told) >= tellEvery {
			told = time.Now()
			f.of.Logger.Info("a backup is being staged", "restore", id, "bytes", sent, "of", f.Trailer.Bytes)
		}
	}
}

// repeat proposes a command again whose outcome is not known; that is safe with parts.
func repeat(ctx context.Context, p Proposer, cmd *fsmpb.Command, tries int) error {
	for {
		_, err := p.Propose(ctx, cmd)
		if tries--; tries == 0 || ctx.Err() != nil || !errors.Is(err, node.ErrUnknownOutcome) {
			return err //nolint:wrapcheck // the caller says what it is about
		}
	}
}

// finish does not end with the caller: from here on it is better known than broken off.
func (f *File) finish(ctx context.Context, p Proposer, command func() *fsmpb.Command, id string, w Wish) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	cmd := command()
	cmd.Body = &fsmpb.Command_FinishRestore{FinishRestore: &fsmpb.FinishRestore{
		RestoreId: id, Sha256: f.Trailer.SHA256, MadeWallMs: f.Manifest.MadeAt.UnixMilli(), Index: f.Manifest.Index,
		ClusterId: f.Manifest.ClusterID, Force: w.Force, Replaces: w.Replace,
	}}
	before := p.View().Meta()
	failpoint.Reach(PointAllStaged)
	value, err := p.Propose(ctx, cmd)
	failpoint.Reach(PointFinished)
	if err != nil && !errors.Is(err, node.ErrUnknownOutcome) {
		return 0, fmt.Errorf("finish the restore: %w", err)
	}
	if number, ok := value.(fsm.Restored); ok && err == nil {
		return uint64(number), nil
	}
	return f.await(ctx, p, id, before, err)
}

// errForgotten says that what was staged is gone, so that it can not become the state:
// with the next session of a leader it is dropped.
var errForgotten = errors.New("another leader came into office before the end")

// await looks at the state for what became of a command whose outcome is not known.
// Before is what the state was when it was proposed.
func (f *File) await(ctx context.Context, p Proposer, id string, before *fsmpb.Meta, unknown error) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, awaitTimeout)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		meta := p.View().Meta()
		switch r := meta.GetRestore(); {
		case r.GetId() == id:
			return r.GetNumber(), nil
		case r.GetNumber() == before.GetRestore().GetNumber() && before.GetStaging().GetRestoreId() == id && meta.GetStaging().GetRestoreId() != id:
			return 0, fmt.Errorf("%w: %w", ErrStaging, errForgotten)
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("finish the restore: %w", unknown)
		case <-tick.C:
		}
	}
}

// abandon frees the room that the parts take. What it can not free now is replaced by
// the next restore.
func (f *File) abandon(ctx context.Context, p Proposer, command func() *fsmpb.Command, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonTimeout)
	defer cancel()
	cmd := command()
	cmd.Body = &fsmpb.Command_AbandonRestore{AbandonRestore: &fsmpb.AbandonRestore{RestoreId: id}}
	if _, err := p.Propose(ctx, cmd); err != nil {
		f.of.Logger.Warn("what was staged of a backup is still there", "restore", id, "error", err)
	}
}
