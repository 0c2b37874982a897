package node

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/keysteward/keysteward/node/raftlog"
)

// ErrDamaged says that what a node kept on its disk is not what it wrote. The node must
// not take part: it would vote and lead without what it promised to remember.
var ErrDamaged = raftlog.ErrDamaged

// verify reads all that the node has to remember, before anything of it is used; a log
// of an older version is rewritten in the present form first. Its errors wrap ErrDamaged and say what to do. A folder that was never used is fine.
func (f *folder) verify(log *slog.Logger) error { return f.verifyWith(log, nil) }

// verifyStopped is verify for a node that will not run on its log as it is. Entries that
// the newest snapshot has in it may be damaged then: they are logged. A node that runs
// needs them for members that are behind.
func (f *folder) verifyStopped(log *slog.Logger) error {
	return f.verifyWith(log, func(index uint64, err error) {
		log.Warn("a log entry is damaged; the newest snapshot has it in it", "index", index, "error", err)
	})
}

// verifyWith calls forgive, unless it is nil, for damaged entries that the newest
// snapshot has in it.
func (f *folder) verifyWith(log *slog.Logger, forgive func(index uint64, err error)) error {
	began := time.Now()
	if err := raftlog.Migrate(f.path, log); err != nil {
		return f.damaged(err)
	}
	snapshot, err := newestSnapshot(filepath.Join(f.path, snapshotsFolder), log)
	if err != nil {
		return f.damaged(err)
	}
	if _, err := os.Lstat(filepath.Join(f.path, raftlog.Folder)); errors.Is(err, fs.ErrNotExist) {
		return f.damaged(f.lost())
	}
	found, err := raftlog.Verify(f.path, raftlog.Whole{
		NodeID: f.nodeID, SnapshotIndex: snapshot.Index, SnapshotTerm: snapshot.Term, Forgive: forgive,
	}, log)
	empty := found.Last == 0 && found.Term == 0 && snapshot.Index == 0
	if cluster, joining := f.read(); err == nil && empty && cluster != "" && !joining {
		err = fmt.Errorf("%w: it was a member of a cluster, and its log is empty", ErrDamaged)
	}
	if err != nil {
		return f.damaged(err)
	}
	log.Info("the data on the disk is whole", "entries", found.Entries, "snapshot", snapshot.Index, "took", time.Since(began))
	return nil
}

// lost says whether there should be a log in a folder that has none.
func (f *folder) lost() error {
	if cluster, joining := f.read(); cluster != "" && !joining {
		return fmt.Errorf("%w: it was a member of a cluster, and its log %s is gone", ErrDamaged, raftlog.Folder)
	}
	// Made right after the log.
	if _, err := os.Lstat(filepath.Join(f.path, snapshotsFolder)); err == nil {
		return fmt.Errorf("%w: it has snapshots, and its log %s is gone", ErrDamaged, raftlog.Folder)
	}
	return nil
}

// damaged adds what to do to an error that says so.
func (f *folder) damaged(err error) error {
	if !errors.Is(err, ErrDamaged) {
		return withOwner(err)
	}
	return fmt.Errorf("%w; this node must not take part with it. %s", err, wayOut(f.path))
}

// wayOut says what to do about a folder that can not be used any more.
func wayOut(path string) string {
	return fmt.Sprintf("If the other members are a majority without it, let them give it everything anew: set the folder aside while the node is stopped "+
		"(mv %[1]s %[1]s.damaged, or move what is in it where it is a volume) and start the node; it comes back under a new ID. "+
		"Never do so on half of the members or more", path)
}
