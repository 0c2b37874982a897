package node

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node/raftlog"
)

// ErrNoData says that a folder holds no data of a node that was part of a cluster.
var ErrNoData = errors.New("no data of a member of a cluster")

// Inspection is what the data folder of a stopped node holds.
type Inspection struct {
	NodeID    string
	ClusterID string
	// Members are those of the newest configuration in the log, committed or not.
	Members []Member
	// LastTerm and LastIndex are of the newest log entry: of several nodes the one with
	// the highest term, and among those with the highest index, knows the most.
	LastTerm, LastIndex uint64
	// CurrentTerm is the highest term that the node has heard of.
	CurrentTerm uint64
	// FirstIndex is that of the oldest entry of the log, 0 for none.
	FirstIndex uint64
	// SnapshotTerm and SnapshotIndex are of the newest snapshot that can be read.
	SnapshotTerm, SnapshotIndex uint64
	// View is the state once everything in the log is applied, which more than was
	// committed may be.
	View *fsm.View
}

// stopped is the data folder of a stopped node, which this process has locked.
type stopped struct {
	folder    *folder
	log       *raftlog.Store
	snapshots raft.SnapshotStore
	machine   *fsm.Machine
	found     Inspection
}

// Inspect reads the data folder of a stopped node and changes nothing, except that a log
// of an older version is rewritten in the present form. The error wraps
// [ErrFolderInUse] if a node runs on it, [ErrNoData] if there is nothing to inspect, and
// names what is damaged.
func Inspect(dataDir string, log *slog.Logger) (Inspection, error) {
	s, err := openStopped(dataDir, log)
	if err != nil {
		return Inspection{}, err
	}
	return s.found, s.close()
}

func openStopped(dataDir string, log *slog.Logger) (_ *stopped, err error) {
	id, err := os.ReadFile(filepath.Join(dataDir, idFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", dataDir, ErrNoData)
	}
	if err != nil {
		return nil, fmt.Errorf("node ID: %w", withOwner(err))
	}
	s := &stopped{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.folder, err = openFolder(dataDir, NameOf(strings.TrimSpace(string(id)))); err != nil {
		return nil, withOwner(err)
	}
	if err := s.folder.verifyStopped(log); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dataDir, raftlog.Folder)); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", dataDir, ErrNoData, err)
	}
	if s.log, err = raftlog.OpenReadOnly(dataDir, log, func(error) {}); err != nil {
		return nil, err //nolint:wrapcheck // names the folder
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dataDir, DefaultSnapshotsKept, raftLogger(log, func() bool { return false }))
	if err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	s.snapshots = snapshotStore{SnapshotStore: snapshots, folder: filepath.Join(dataDir, snapshotsFolder)}
	return s, s.read()
}

// writable opens the log to be changed. What was only read has the files that it had.
func (s *stopped) writable(log *slog.Logger) error {
	err := s.log.Close()
	s.log = nil
	if err == nil {
		s.log, err = raftlog.Open(s.folder.path, log, func(error) {})
	}
	return err //nolint:wrapcheck // names the folder
}

func (s *stopped) close() error {
	var errs []error
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	if s.folder != nil {
		errs = append(errs, s.folder.close())
	}
	return errors.Join(errs...)
}

// read restores the newest snapshot that can be and applies all of the log behind it.
func (s *stopped) read() error {
	f := &s.found
	f.NodeID = s.folder.nodeID
	var err error
	if f.FirstIndex, err = s.log.FirstIndex(); err != nil {
		return fmt.Errorf("first log entry: %w", err)
	}
	last, err := s.log.LastIndex()
	if err != nil {
		return fmt.Errorf("last log entry: %w", err)
	}
	if f.CurrentTerm, err = s.log.GetUint64([]byte(raftlog.KeyCurrentTerm)); err != nil && !errors.Is(err, raftlog.ErrNotFound) {
		return fmt.Errorf("current term: %w", err)
	}
	if err := s.restore(); err != nil {
		return err
	}
	if last == 0 && f.SnapshotIndex == 0 {
		return fmt.Errorf("%s: %w", s.folder.path, ErrNoData)
	}
	if err := s.replay(last); err != nil {
		return err
	}
	f.View = s.machine.View()
	if f.ClusterID, _ = s.folder.read(); f.View.Meta().GetClusterId() != "" {
		f.ClusterID = f.View.Meta().GetClusterId()
	}
	return nil
}

// restore reads the newest snapshot that is not damaged.
func (s *stopped) restore() error {
	f := &s.found
	list, err := s.snapshots.List() // the newest first
	if err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	var failures []error
	for _, meta := range list {
		s.machine = fsm.New()
		if err := s.restoreOne(meta.ID); err != nil {
			failures = append(failures, fmt.Errorf("snapshot %s: %w", meta.ID, err))
			continue
		}
		f.SnapshotIndex, f.SnapshotTerm = meta.Index, meta.Term
		f.LastIndex, f.LastTerm = meta.Index, meta.Term
		f.Members = membersOf(meta.Configuration)
		return nil
	}
	s.machine = fsm.New()
	if f.FirstIndex == 1 { // the log has it all
		return nil
	}
	return errors.Join(failures...)
}

func (s *stopped) restoreOne(id string) error {
	_, in, err := s.snapshots.Open(id)
	if err != nil {
		return err //nolint:wrapcheck // the caller names it
	}
	err = s.machine.Restore(in)
	if err == nil {
		_, err = io.Copy(io.Discard, in)
	}
	return errors.Join(err, in.Close())
}

// replay applies the log behind the snapshot.
func (s *stopped) replay(last uint64) error {
	f := &s.found
	for index := f.SnapshotIndex + 1; index <= last; index++ {
		var entry raft.Log
		if err := s.log.GetLog(index, &entry); err != nil {
			return fmt.Errorf("log entry %d: %w", index, err)
		}
		switch entry.Type {
		case raft.LogCommand:
			if _, err := s.machine.Apply(entry.Index, entry.Term, entry.Data); err != nil {
				return err //nolint:wrapcheck // names the entry
			}
		case raft.LogConfiguration:
			f.Members = membersOf(raft.DecodeConfiguration(entry.Data))
		default:
		}
		f.LastIndex, f.LastTerm = entry.Index, entry.Term
	}
	return nil
}

func membersOf(c raft.Configuration) (list []Member) {
	for _, s := range c.Servers {
		list = append(list, Member{ID: string(s.ID), Address: string(s.Address), Voter: s.Suffrage == raft.Voter})
	}
	return list
}
