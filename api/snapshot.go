package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/backup"
	"github.com/keysteward/keysteward/node/backup/making"
	"github.com/keysteward/keysteward/node/backup/schedule"
)

const (
	// maxSnapshots bounds the backups that are sent at a time: each keeps its state in memory.
	maxSnapshots = 2
	// stallTimeout is how long nothing may be taken of one, or come of one.
	stallTimeout = time.Minute
)

// getSnapshot streams a backup of the state that the call reads. Who has it is in the
// audit before its first byte is sent. What is secret in it is ciphertext, so it is no
// disclosure, and a stale one can be had of a node that does not lead, also without any
// leader; of that there is only this node's log.
func (s *Server) getSnapshot(c *call) (answer, error) {
	maker := making.Maker{Vault: s.cfg.Seal, Node: s.node.Status().NodeID, Program: s.cfg.Version}
	b, err := maker.Prepare(c.reading.view, time.Now())
	if err != nil {
		return answer{}, fmt.Errorf("backup: %w", err)
	}
	head := c.echo.Request().Method == http.MethodHead
	if !head {
		select {
		case s.snapshots <- struct{}{}:
		default:
			return answer{}, newProblem(overloaded, "%d backups are being sent already", maxSnapshots)
		}
		if err := s.recordBackup(c, &b.Manifest); err != nil {
			<-s.snapshots
			return answer{}, err
		}
	}
	a := streamed(backup.MediaType, func(w io.Writer) error {
		defer func() { <-s.snapshots }()
		n, err := b.WriteTo(&patient{out: w, deadlines: http.NewResponseController(c.echo.Response().Writer)})
		s.log.Info("a backup was sent", "request_id", requestID(c.echo), "caller", c.caller.Name, "remote", c.caller.Remote,
			"file", b.Manifest.FileID, "index", b.Manifest.Index, "bytes", n, "whole", err == nil)
		return err //nolint:wrapcheck // the caller wraps
	})
	a.header = http.Header{
		echo.HeaderContentDisposition: {fmt.Sprintf("attachment; filename=%q", b.Manifest.Name())},
		echo.HeaderCacheControl:       {"no-store"},
	}
	return a, nil
}

// recordBackup puts on record who takes a backup, where this node leads.
func (s *Server) recordBackup(c *call, m *backup.Manifest) error {
	if !s.node.Status().IsLeader {
		return nil
	}
	cmd := c.command()
	cmd.Body = &fsmpb.Command_RecordAct{RecordAct: &fsmpb.RecordAct{
		Action: "backup.make", Object: m.FileID, Detail: fmt.Sprintf("the state of index %d, with %d keys", m.Index, m.Counts.Keys),
	}}
	if _, err := s.propose(c.ctx(), cmd); err != nil && !errors.Is(err, fsm.Refused(fsm.FeatureRefused)) {
		return err
	}
	return nil
}

// patient writes for as long as somebody reads: the deadline moves on with each write.
type patient struct {
	out       io.Writer
	deadlines *http.ResponseController
}

// Write implements io.Writer.
func (p *patient) Write(b []byte) (int, error) {
	_ = p.deadlines.SetWriteDeadline(time.Now().Add(stallTimeout))
	return p.out.Write(b) //nolint:wrapcheck // as io.Writer promises it
}

// getBackups tells how the scheduled backups are doing.
func (s *Server) getBackups(*call) (answer, error) {
	w := wire.Backups{Node: s.node.Status().NodeID}
	if s.cfg.Backups == nil {
		return ok(w), nil
	}
	st := s.cfg.Backups()
	w.Scheduled, w.To, w.EverySeconds, w.Keep = true, st.To, int64(st.Every/time.Second), int64(st.Keep)
	w.Next, w.Failures = st.Next, int64(st.Failures)
	w.Reason = wire.Reason{Code: st.Code, Detail: st.Detail}
	if st.Last.Name != "" {
		w.Last = wire.ScheduledBackup{Name: st.Last.Name, MadeAt: st.Last.MadeAt, Bytes: st.Last.Bytes}
	}
	return ok(w), nil
}

// BackupSchedule tells how the scheduled backups of this node are doing.
type BackupSchedule func() schedule.Status
