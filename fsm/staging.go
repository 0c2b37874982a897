package fsm

import (
	"bytes"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Bounds of what is staged for a restore.
const (
	// MaxStagePart is the longest part, in bytes, that one StageRestore brings.
	MaxStagePart = 512 << 10
	// MaxStaged is how much can be staged, in bytes.
	MaxStaged = 4 << 30
	// MaxStageParts is into how many parts it may be cut.
	MaxStageParts = 1 << 16
)

// tableStaging holds the parts of a backup that were brought, by sequence.
const tableStaging = "staging"

// stageRestore keeps the next part of a backup; the first one forgets what was
// staged before. The newest part again changes nothing, so a repeat is safe. Its
// value is nil.
func (w *write) stageRestore(c *fsmpb.StageRestore) Result {
	s, n := w.meta.GetStaging(), len(c.GetData())
	switch {
	case c.GetRestoreId() == "" || len(c.GetRestoreId()) > maxName:
		return Result{Refusal: refuse(Invalid, "a restore needs a name of 1 to %d bytes", maxName)}
	case n == 0 || n > MaxStagePart:
		return Result{Refusal: refuse(Invalid, "a part of %d bytes, want 1 to %d", n, MaxStagePart)}
	case c.GetRestoreId() == s.GetRestoreId() && c.GetSequence()+1 == s.GetParts() && bytes.Equal(w.staged(c.GetSequence()).GetData(), c.GetData()):
		return Result{}
	case c.GetSequence() == 0:
		w.dropStaged()
		s = &fsmpb.Staging{RestoreId: c.GetRestoreId()}
		w.record("restore.stage", c.GetRestoreId(), "")
	case c.GetRestoreId() != s.GetRestoreId():
		return Result{Refusal: refuse(NotFound, "nothing is staged as %q: begin anew with part 0", brief(c.GetRestoreId()))}
	case c.GetSequence() != s.GetParts():
		return Result{Refusal: refuse(Invalid, "part %d, the next one is %d", c.GetSequence(), s.GetParts())}
	}
	if s.GetBytes()+uint64(n) > MaxStaged || s.GetParts() >= MaxStageParts {
		return Result{Refusal: refuse(TooMany, "a backup of over %d bytes, or of over %d parts", uint64(MaxStaged), MaxStageParts)}
	}
	mustInsert(w.txn, tableStaging, &fsmpb.Staged{Sequence: c.GetSequence(), Data: c.GetData()})
	s = proto.CloneOf(s)
	s.Parts, s.Bytes = s.GetParts()+1, s.GetBytes()+uint64(n)
	w.meta.Staging = s
	return Result{}
}

// abandonRestore forgets what was staged under this name, or under any. Where
// nothing is there is nothing to do. Its value is nil.
func (w *write) abandonRestore(c *fsmpb.AbandonRestore) Result {
	s := w.meta.GetStaging()
	if s == nil || c.GetRestoreId() != "" && c.GetRestoreId() != s.GetRestoreId() {
		return Result{}
	}
	w.dropStaged()
	w.record("restore.abandon", s.GetRestoreId(), "")
	return Result{}
}

func (w *write) dropStaged() {
	for _, row := range gather(lowerBound[*fsmpb.Staged](w.txn, tableStaging, nil)) {
		mustDelete(w.txn, tableStaging, row)
	}
	w.meta.Staging = nil
}

func (w *write) staged(sequence uint32) *fsmpb.Staged {
	return first[*fsmpb.Staged](w.txn, tableStaging, orderKey(uint64(sequence)))
}

// Staged reads all that is staged for a restore, in its order.
func (v *View) Staged() io.Reader {
	var parts []io.Reader
	for row := range lowerBound[*fsmpb.Staged](v.txn, tableStaging, nil) {
		parts = append(parts, bytes.NewReader(row.GetData()))
	}
	return io.MultiReader(parts...)
}

// checkStaging: the parts are there without a gap, and counted.
func (c *checker) checkStaging() {
	s, n, parts := c.meta.GetStaging(), uint64(0), uint32(0)
	for row := range lowerBound[*fsmpb.Staged](c.view.txn, tableStaging, nil) {
		if row.GetSequence() != parts {
			c.failf("part %d of what is staged stands in the place of %d", row.GetSequence(), parts)
		}
		n, parts = n+uint64(len(row.GetData())), parts+1
	}
	if s.GetParts() != parts || s.GetBytes() != n || (s != nil) != (parts > 0) {
		c.failf("%d bytes in %d parts are staged, counted are %d in %d", n, parts, s.GetBytes(), s.GetParts())
	}
}
