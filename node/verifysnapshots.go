package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"
)

// keptSnapshot is what the library writes about a snapshot.
type keptSnapshot struct {
	raft.SnapshotMeta

	CRC []byte
}

// newestSnapshot reads all snapshots and returns the newest; zero if there is none. The
// library passes over what it can not read: a node that has forgotten its newest snapshot
// may have forgotten what it promised to remember.
func newestSnapshot(folder string) (newest raft.SnapshotMeta, err error) {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return newest, nil
	}
	if err != nil {
		return newest, fmt.Errorf("snapshots: %w", err)
	}
	removed := raft.SnapshotMeta{}
	for _, e := range entries {
		if !e.IsDir() || strings.HasSuffix(e.Name(), ".tmp") {
			continue // one that was not finished
		}
		meta, err := readSnapshot(filepath.Join(folder, e.Name()))
		switch {
		case errors.Is(err, errHalfRemoved):
			if newer(meta, removed) {
				removed = meta
			}
		case err != nil:
			return newest, err
		case newer(meta, newest):
			newest = meta
		}
	}
	if newer(removed, newest) {
		return newest, fmt.Errorf("%w: files of its newest snapshot %s are gone", ErrDamaged, removed.ID)
	}
	return newest, nil
}

func newer(a, b raft.SnapshotMeta) bool {
	return a.Term > b.Term || a.Term == b.Term && a.Index > b.Index
}

// errHalfRemoved says that files of a snapshot are gone, which is how a crash leaves one
// that is being removed for a newer one.
var errHalfRemoved = errors.New("files of the snapshot are gone")

// readSnapshot checks a snapshot as far as it can be checked without applying it. For one
// that was removed in part it returns what its name says.
func readSnapshot(folder string) (raft.SnapshotMeta, error) {
	name := filepath.Base(folder)
	broken := func(format string, args ...any) error {
		return fmt.Errorf("%w: snapshot %s: %w", ErrDamaged, name, fmt.Errorf(format, args...))
	}
	named := raft.SnapshotMeta{ID: name}
	var at uint64
	if n, err := fmt.Sscanf(name, "%d-%d-%d", &named.Term, &named.Index, &at); n != 3 {
		return named, broken("its name is none: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(folder, metaFile))
	if errors.Is(err, fs.ErrNotExist) {
		return named, errHalfRemoved
	}
	var meta keptSnapshot
	if err == nil {
		err = json.Unmarshal(text, &meta)
	}
	if err != nil {
		return named, broken("%s can not be read: %w", metaFile, err)
	}
	switch sum, err := os.ReadFile(filepath.Join(folder, metaSumFile)); {
	case errors.Is(err, fs.ErrNotExist): // of an older version, or of one that crashed
	case err != nil:
		return named, broken("%w", err)
	case strings.TrimSpace(string(sum)) != sumText(text):
		return named, broken("%s does not match its checksum", metaFile)
	}
	if meta.ID != name || meta.Term != named.Term || meta.Index != named.Index {
		return named, broken("%s is about %s, of index %d and term %d", metaFile, meta.ID, meta.Index, meta.Term)
	}
	err = checkState(filepath.Join(folder, stateFile), meta)
	if errors.Is(err, fs.ErrNotExist) {
		return named, errHalfRemoved
	}
	if err != nil {
		return named, broken("%w", err)
	}
	return meta.SnapshotMeta, nil
}

func checkState(path string, meta keptSnapshot) error {
	f, err := os.Open(path)
	if err != nil {
		return err //nolint:wrapcheck // says which file
	}
	defer f.Close()
	sum := crc64.New(crc64.MakeTable(crc64.ECMA))
	size, err := io.Copy(sum, f)
	if err != nil {
		return err //nolint:wrapcheck // says which file
	}
	if size != meta.Size {
		return fmt.Errorf("%s has %d bytes of %d", stateFile, size, meta.Size)
	}
	if !bytes.Equal(sum.Sum(nil), meta.CRC) {
		return fmt.Errorf("%s does not match its checksum", stateFile)
	}
	return nil
}
