package api

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/backup"
	"github.com/keysteward/keysteward/node/backup/restoring"
)

// restoreTimeout bounds the time from the last byte of a backup to the answer.
const restoreTimeout = time.Hour

// putSnapshot restores a backup. Nothing is changed before all of it was received and
// checked; then it goes through the log.
func (s *Server) putSnapshot(c *call) (answer, error) {
	if media, _, err := mime.ParseMediaType(c.echo.Request().Header.Get("Content-Type")); err != nil || media != backup.MediaType {
		p := newProblem(unsupportedMedia, "want Content-Type: %s", backup.MediaType)
		p.field = "Content-Type"
		return answer{}, p
	}
	force, err := c.flag("forceOlder")
	if err != nil {
		return answer{}, err
	}
	wish := restoring.Wish{Replace: c.query.Get("replaceCluster"), Force: force}
	if s.cfg.Restorer == nil {
		return answer{}, newProblem(internal, "this node restores no backups")
	}
	deadlines := http.NewResponseController(c.echo.Response().Writer)
	file, err := s.cfg.Restorer.Receive(c.ctx(), s.cfg.Seal, &patientReader{in: c.echo.Request().Body, deadlines: deadlines})
	if err != nil {
		return answer{}, restoreProblem(err)
	}
	defer func() { _ = file.Close() }()
	_ = deadlines.SetReadDeadline(time.Time{})
	_ = deadlines.SetWriteDeadline(time.Now().Add(restoreTimeout))
	if err := s.barrier(c.ctx()); err != nil { // what is given up is what there is
		return answer{}, err
	}
	before := s.node.View().Meta()
	if err := file.Check(s.node.View(), wish); err != nil {
		return answer{}, restoreProblem(err)
	}
	file.AwaitLevel(c.ctx(), s.node.View)
	if err := file.Examine(s.node.View()); err != nil {
		return answer{}, restoreProblem(err)
	}
	cmd := c.command()
	done, err := file.Restore(c.ctx(), s.node, restoring.Ask{Caller: cmd.GetCaller(), RequestID: cmd.GetRequestId()}, wish)
	if err != nil {
		return answer{}, restoreProblem(err)
	}
	m := file.Manifest
	return ok(wire.RestoredBackup{
		Number: signed(done.Number), ClusterID: m.ClusterID, Index: signed(m.Index), MadeAt: m.MadeAt,
		ReplacedCluster: before.GetClusterId(), ReplacedIndex: signed(before.GetAppliedIndex()),
	}), nil
}

// restoreProblem says what is wrong with a backup; other errors stay what they are.
func restoreProblem(err error) error {
	var timeout interface{ Timeout() bool }
	for _, k := range []struct {
		is   error
		kind kind
		out  string // the way out
	}{
		{backup.ErrNotABackup, notABackup, ""},
		{backup.ErrNewer, newerBackup, ": restore it with the version that made it, or a newer one"},
		{restoring.ErrNewerState, newerBackup, ": restore it with the version that made it, or a newer one"},
		{backup.ErrTruncated, damagedBackup, ": take another one"},
		{backup.ErrDamaged, damagedBackup, ": take another one"},
		{backup.ErrForeign, foreignBackup, ": start the servers with the key-encryption key of the cluster that made it as one more --seal"},
		{restoring.ErrUnsound, damagedBackup, ": take another one"},
		{restoring.ErrNoMemory, noMemory, ""},
		{restoring.ErrOtherCluster, otherCluster, ": to give that up, name it (--replace-cluster ID, ?replaceCluster=ID)"},
		{restoring.ErrOlder, olderBackup, ": to give that up, say so (--force-older, ?forceOlder=true)"},
		{restoring.ErrNoSpace, noSpace, ""},
		{restoring.ErrTooLarge, bodyTooLarge, ""},
		{restoring.ErrStaging, noLeader, ": the state is what it was"},
		{restoring.ErrBusy, restoreUnderWay, ""},
	} {
		if errors.Is(err, k.is) {
			return newProblem(k.kind, "%s%s", err, k.out)
		}
	}
	switch {
	case errors.Is(err, node.ErrUnknownOutcome):
		return newProblem(outcomeUnknown, "the backup may or may not be the state from now on: GET /v1/restore tells, before it is restored again")
	case errors.Is(err, node.ErrSealed):
		return err
	case errors.As(err, &timeout) && timeout.Timeout():
		return newProblem(malformedBody, "nothing came of the body for %s", stallTimeout)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return newProblem(malformedBody, "the body ended early")
	}
	return fmt.Errorf("restore: %w", err)
}

// patientReader reads for as long as somebody sends: the deadline moves on with each read.
type patientReader struct {
	in        io.Reader
	deadlines *http.ResponseController
}

// Read implements io.Reader.
func (p *patientReader) Read(b []byte) (int, error) {
	_ = p.deadlines.SetReadDeadline(time.Now().Add(stallTimeout))
	return p.in.Read(b) //nolint:wrapcheck // as io.Reader promises it
}
