package node

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/keysteward/keysteward/node/raftlog"
)

// Recovery says how the data of a stopped node become a cluster of one.
type Recovery struct {
	DataDir string
	// Address under which the others reach the node from now on; empty for the one that
	// it had.
	Address string
	// By is the operator, for the audit.
	By     string
	Logger *slog.Logger
	Now    time.Time
}

// Recovered says what was made of the data.
type Recovered struct {
	// Before is what the folder held, and Copy the folder with a copy of it.
	Before Inspection
	Copy   string
	// Term and Index are of the snapshot from which the node goes on.
	Term, Index uint64
	Address     string
}

// errOutcast says that a node is no member of its cluster by its own data.
var errOutcast = errors.New("this node is no member of the cluster by its own data: it was removed, or never let in")

// Recover makes of a node that survived the loss of the quorum the only member of its
// cluster. Everything in its log counts as committed, what the others alone had is lost,
// and as nobody knows what that was the state goes on as after a restore of a backup:
// see rest. The folder is copied first. It may be called again after any failure.
//
// The error wraps [ErrNotOwner] if this process is another user than the node's.
func Recover(r Recovery) (done Recovered, err error) {
	if err := checkOwner(r.DataDir, os.Geteuid()); err != nil {
		return done, err
	}
	s, err := openStopped(r.DataDir, r.Logger)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	done.Before = s.found
	i := slices.IndexFunc(s.found.Members, func(m Member) bool { return m.ID == s.found.NodeID })
	if i < 0 {
		return done, fmt.Errorf("%s: %w", s.found.NodeID, errOutcast)
	}
	if done.Address = r.Address; done.Address == "" {
		done.Address = s.found.Members[i].Address
	}
	if _, _, err := net.SplitHostPort(done.Address); err != nil {
		return done, fmt.Errorf("address %q: %w", done.Address, err)
	}
	if done.Copy, err = s.copyAside(r.Now); err != nil {
		return done, fmt.Errorf("copy the data first: %w", err)
	}
	if err := s.writable(r.Logger); err != nil {
		return done, err
	}
	done.Term = max(s.found.CurrentTerm, s.found.LastTerm) + 1
	if done.Index, err = s.rest(done.Term, r); err != nil {
		return done, err
	}
	return done, s.replace(done)
}

// replace writes the snapshot of a cluster of one and empties the log. In between the
// node could start as well: the snapshot is ahead of the log.
func (s *stopped) replace(done Recovered) error {
	if err := s.log.SetUint64([]byte(raftlog.KeyCurrentTerm), done.Term); err != nil {
		return fmt.Errorf("current term: %w", err)
	}
	alone := raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(s.found.NodeID), Address: raft.ServerAddress(done.Address)}}}
	_, trans := raft.NewInmemTransport(raft.ServerAddress(done.Address))
	defer func() { _ = trans.Close() }()
	sink, err := s.snapshots.Create(raft.SnapshotVersionMax, done.Index, done.Term, alone, done.Index, trans)
	if err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	if err := (snapshot{view: s.machine.View()}).Persist(sink); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	if s.found.FirstIndex == 0 {
		return nil
	}
	last, err := s.log.LastIndex()
	if err == nil {
		err = s.log.DeleteRange(s.found.FirstIndex, last)
	}
	if err != nil {
		return fmt.Errorf("empty the log: %w", err)
	}
	return s.folder.write(s.found.ClusterID, false)
}

// copyAside copies all that a recovery changes into a folder beside it.
func (s *stopped) copyAside(now time.Time) (string, error) {
	from := s.folder.path
	if err := s.roomFor(from); err != nil {
		return "", err
	}
	unique := make([]byte, 2)
	_, _ = rand.Read(unique) // never fails
	to := filepath.Join(from, "before-recovery-"+now.UTC().Format("20060102T150405Z")+"-"+hex.EncodeToString(unique))
	for _, part := range recoveredParts {
		err := filepath.WalkDir(filepath.Join(from, part), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) && d == nil {
				return nil
			}
			if err != nil || d.IsDir() {
				return err
			}
			relative, err := filepath.Rel(from, path)
			if err != nil {
				return err //nolint:wrapcheck // never: the path is below it
			}
			return copyDurably(path, filepath.Join(to, relative))
		})
		if err != nil {
			return "", err
		}
	}
	return to, errors.Join(syncFolder(to), syncFolder(from))
}

// recoveredParts are what a recovery changes, and what is needed to go back.
var recoveredParts = []string{idFile, clusterFile, raftlog.Folder, snapshotsFolder}

// roomFor finds out whether a copy has room, and the new snapshot beside it.
func (s *stopped) roomFor(folder string) error {
	var need uint64
	for _, part := range recoveredParts {
		err := filepath.WalkDir(filepath.Join(folder, part), func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil //nolint:nilerr // what is not there takes no room
			}
			info, err := d.Info()
			if err == nil {
				need += uint64(info.Size()) //nolint:gosec // not negative
			}
			return err //nolint:wrapcheck // the caller names the folder
		})
		if err != nil {
			return err //nolint:wrapcheck // names the file
		}
	}
	have, err := statfs(folder)
	if err != nil {
		return err
	}
	if need *= 2; have.free < need {
		return fmt.Errorf("%s: %s are needed and %s are free: %w", folder, bytesText(need), bytesText(have.free), errNoRoom)
	}
	return nil
}

// errNoRoom says that a disk has too little free space for what was asked for.
var errNoRoom = errors.New("too little free space")

func copyDurably(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err //nolint:wrapcheck // names the file
	}
	in, err := os.Open(from)
	if err != nil {
		return err //nolint:wrapcheck // names the file
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err //nolint:wrapcheck // names the file
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(to))
}
