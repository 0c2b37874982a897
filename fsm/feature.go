package fsm

import (
	"fmt"
	"strconv"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// FeatureLevel is the highest feature level that this code knows. The cluster's own
// level ([fsmpb.Meta]) is raised to it by a command once the programs of all members
// know it; until then no command that the level brought is accepted, so that a node of
// the version before can read every entry while nodes are upgraded one by one.
//
//   - 0: everything before there were levels.
//   - 1: the running hash and checkpoints; restoring a backup.
const FeatureLevel = 1

// FeatureRefused refuses a command that needs a higher feature level than the cluster's.
const FeatureRefused Code = "feature-level"

// knows returns an error that wraps [ErrUnknownCommand] if the state is of a level, or
// the command brings one, that this code does not know.
func knows(level uint32) error {
	if level > FeatureLevel {
		return fmt.Errorf("feature level %d, this program knows %d: %w: upgrade this node", level, FeatureLevel, ErrUnknownCommand)
	}
	return nil
}

// Accepts refuses a command that the cluster's feature level does not allow yet. Whoever
// proposes asks first: in the log it would stop every node of an older version.
func (v *View) Accepts(c *fsmpb.Command) error {
	m := c.ProtoReflect()
	f := m.WhichOneof(m.Descriptor().Oneofs().ByName("body"))
	if f == nil || f.Number() <= lastOfLevel0 || v.Meta().GetFeatureLevel() >= 1 || c.GetRaiseFeatureLevel() != nil {
		return nil
	}
	return refuse(FeatureRefused, "this needs feature level 1, and the cluster is at %d until the programs of all members know more", v.Meta().GetFeatureLevel())
}

// lastOfLevel0 is the highest number of a command that every version knows.
const lastOfLevel0 = 109

// raiseFeatureLevel raises the level; a level that was reached changes nothing.
func (w *write) raiseFeatureLevel(b *fsmpb.RaiseFeatureLevel) Result {
	if b.GetLevel() <= w.meta.GetFeatureLevel() {
		return Result{}
	}
	w.meta.FeatureLevel = b.GetLevel()
	w.beginRunning()
	w.record("feature-level.raise", strconv.FormatUint(uint64(b.GetLevel()), 10), "")
	return Result{}
}

// needs refuses a command below its feature level.
func (w *write) needs(level uint32) *Refusal {
	if w.meta.GetFeatureLevel() >= level {
		return nil
	}
	return refuse(FeatureRefused, "this needs feature level %d, and the cluster is at %d until the programs of all members know more", level, w.meta.GetFeatureLevel())
}
