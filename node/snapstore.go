package node

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
)

// Files of a snapshot. Raft's own checksum, in the first, covers the second alone, so the
// first has one in a file beside it. A crash may leave a snapshot without it.
const (
	snapshotsFolder = "snapshots"
	metaFile        = "meta.json"
	stateFile       = "state.bin"
	metaSumFile     = "meta.sha256"
)

// snapshotStore is Raft's, with the checksums of what it says about its snapshots.
type snapshotStore struct {
	raft.SnapshotStore

	folder string
}

// Create implements raft.SnapshotStore.
func (s snapshotStore) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, at uint64, t raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(v, index, term, c, at, t)
	if err != nil {
		return nil, err //nolint:wrapcheck // goes to the library
	}
	return &summedSink{SnapshotSink: sink, folder: filepath.Join(s.folder, sink.ID())}, nil
}

type summedSink struct {
	raft.SnapshotSink

	folder string
	ended  bool // Raft closes what was closed or cancelled before
}

// Cancel implements raft.SnapshotSink.
func (s *summedSink) Cancel() error {
	s.ended = true
	return s.SnapshotSink.Cancel() //nolint:wrapcheck // goes to the library
}

// Close implements raft.SnapshotSink.
func (s *summedSink) Close() error {
	if s.ended {
		return nil
	}
	s.ended = true
	if err := s.SnapshotSink.Close(); err != nil {
		return err //nolint:wrapcheck // goes to the library
	}
	meta, err := os.ReadFile(filepath.Join(s.folder, metaFile))
	if err == nil {
		err = writeDurably(filepath.Join(s.folder, metaSumFile), []byte(sumText(meta)+"\n"))
	}
	if err != nil {
		return fmt.Errorf("checksum of the snapshot: %w", err)
	}
	return nil
}

func sumText(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
