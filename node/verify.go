package node

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/keysteward/keysteward/node/boltfile"
)

// verify reads all that the node has to remember, before anything of it is used. Its
// errors wrap ErrDamaged and say what to do. A folder that was never used is fine.
func (f *folder) verify(log *slog.Logger) error {
	began := time.Now()
	snapshot, err := newestSnapshot(filepath.Join(f.path, snapshotsFolder))
	if err != nil {
		return f.damaged(err)
	}
	kept := &kept{nodeID: f.nodeID, snapshot: snapshot}
	path := filepath.Join(f.path, logFile)
	err = boltfile.Walk(path, kept.visit)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f.damaged(f.lost())
	case errors.Is(err, boltfile.ErrDamaged):
		err = fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	case err == nil:
		err = kept.check()
	}
	if cluster, joining := f.read(); err == nil && kept.empty() && cluster != "" && !joining {
		err = fmt.Errorf("%w: it was a member of a cluster, and its log is empty", ErrDamaged)
	}
	if err != nil {
		return f.damaged(err)
	}
	log.Info("the data on the disk is whole", "entries", kept.entries, "of_older_versions", kept.unsummed, "snapshot", snapshot.Index, "took", time.Since(began))
	return nil
}

// lost says whether there should be a log in a folder that has none.
func (f *folder) lost() error {
	if cluster, joining := f.read(); cluster != "" && !joining {
		return fmt.Errorf("%w: it was a member of a cluster, and its log %s is gone", ErrDamaged, logFile)
	}
	// Made right after the log.
	if _, err := os.Lstat(filepath.Join(f.path, snapshotsFolder)); err == nil {
		return fmt.Errorf("%w: it has snapshots, and its log %s is gone", ErrDamaged, logFile)
	}
	return nil
}

// damaged adds what to do to an error that says so.
func (f *folder) damaged(err error) error {
	if !errors.Is(err, ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w; this node must not take part with it. %s", err, wayOut(f.path))
}

// wayOut says what to do about a folder that can not be used any more.
func wayOut(path string) string {
	return fmt.Sprintf("If the other members are a majority without it, let them give it everything anew: set the folder aside while the node is stopped "+
		"(mv %[1]s %[1]s.damaged, or move what is in it where it is a volume) and start the node; it comes back under a new ID. "+
		"Never do so on half of the members or more", path)
}
