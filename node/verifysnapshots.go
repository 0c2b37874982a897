package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"io/fs"
	"log/slog"
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
// may have forgotten what it promised to remember. One that is damaged and older than a
// whole one is logged and stays: nobody needs it.
func newestSnapshot(folder string, log *slog.Logger) (newest raft.SnapshotMeta, err error) {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return newest, nil
	}
	if err != nil {
		return newest, fmt.Errorf("snapshots: %w", err)
	}
	removed := raft.SnapshotMeta{}
	var damaged []damagedSnapshot
	for _, e := range entries {
		if !e.IsDir() || strings.HasSuffix(e.Name(), tmpSuffix) {
			continue // one that was not finished
		}
		meta, inPlace, err := readSnapshot(filepath.Join(folder, e.Name()))
		switch {
		case errors.Is(err, errHalfRemoved):
			if newer(meta, removed) {
				removed = meta
			}
		case err != nil && inPlace && errors.Is(err, ErrDamaged):
			damaged = append(damaged, damagedSnapshot{meta, err})
		case err != nil:
			return newest, err
		case newer(meta, newest):
			newest = meta
		}
	}
	if newer(removed, newest) {
		return newest, fmt.Errorf("%w: files of its newest snapshot %s are gone", ErrDamaged, removed.ID)
	}
	return newest, outlived(damaged, newest, log)
}

// outlived refuses damaged snapshots unless a whole one is newer.
func outlived(damaged []damagedSnapshot, newest raft.SnapshotMeta, log *slog.Logger) error {
	for _, d := range damaged {
		if !newer(newest, d.meta) {
			return d.err
		}
	}
	for _, d := range damaged {
		log.Warn("an older snapshot is damaged; a newer one is whole, so it is not needed and may be removed", "snapshot", d.meta.ID, "newest", newest.ID, "error", d.err)
	}
	return nil
}

// damagedSnapshot is one whose place among the others is known.
type damagedSnapshot struct {
	meta raft.SnapshotMeta
	err  error
}

// tmpSuffix is of the folder of a snapshot that is being written.
const tmpSuffix = ".tmp"

// sweepSnapshots removes what a crash left of snapshots that were being written: nobody
// else ever does. It hinders nothing.
func sweepSnapshots(folder string, log *slog.Logger) {
	list, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("snapshots that were not finished stay", "folder", folder, "error", err)
	}
	for _, e := range list {
		if !strings.HasSuffix(e.Name(), tmpSuffix) {
			continue
		}
		path := filepath.Join(folder, e.Name())
		if err := os.RemoveAll(path); err != nil {
			log.Warn("a snapshot that was not finished stays", "snapshot", path, "error", err)
			continue
		}
		log.Info("a snapshot that was not finished was removed", "snapshot", path)
	}
}

func newer(a, b raft.SnapshotMeta) bool {
	return a.Term > b.Term || a.Term == b.Term && a.Index > b.Index
}

// errHalfRemoved says that files of a snapshot are gone, which is how a crash leaves one
// that is being removed for a newer one.
var errHalfRemoved = errors.New("files of the snapshot are gone")

// readSnapshot checks a snapshot as far as it can be checked without applying it. For one
// that was removed in part or is damaged it returns what its name says. An error that
// does not wrap ErrDamaged says that a file could not be read, and nothing about what is
// in it.
//
// The library goes by meta.json alone. So inPlace tells of a damaged one that the library
// will not take for a newer one than its name says: its meta.json is whole, or no JSON.
func readSnapshot(folder string) (found raft.SnapshotMeta, inPlace bool, err error) {
	name := filepath.Base(folder)
	found.ID = name
	var at uint64
	if n, err := fmt.Sscanf(name, "%d-%d-%d", &found.Term, &found.Index, &at); n != 3 {
		return found, false, fmt.Errorf("%w: snapshot %s: its name is none: %w", ErrDamaged, name, err)
	}
	meta, inPlace, err := readSnapshotMeta(folder, found)
	if err == nil {
		inPlace = true
		err = checkState(filepath.Join(folder, stateFile), meta)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return found, false, errHalfRemoved
	case err != nil:
		return found, inPlace, fmt.Errorf("snapshot %s: %w", name, err)
	}
	return meta.SnapshotMeta, true, nil
}

// readSnapshotMeta returns what is said about a snapshot of this name.
func readSnapshotMeta(folder string, named raft.SnapshotMeta) (meta keptSnapshot, inPlace bool, err error) {
	text, err := os.ReadFile(filepath.Join(folder, metaFile))
	if err != nil {
		return meta, false, err //nolint:wrapcheck // says which file
	}
	if err := json.Unmarshal(text, &meta); err != nil {
		// The library does not mind what is behind it.
		inPlace := json.NewDecoder(bytes.NewReader(text)).Decode(new(keptSnapshot)) != nil
		return meta, inPlace, fmt.Errorf("%w: %s can not be read: %w", ErrDamaged, metaFile, err)
	}
	switch sum, err := os.ReadFile(filepath.Join(folder, metaSumFile)); {
	case errors.Is(err, fs.ErrNotExist): // of an older version, or of one that crashed
	case err != nil:
		return meta, false, err //nolint:wrapcheck // says which file
	case strings.TrimSpace(string(sum)) != sumText(text):
		return meta, false, fmt.Errorf("%w: %s does not match its checksum", ErrDamaged, metaFile)
	}
	if meta.ID != named.ID || meta.Term != named.Term || meta.Index != named.Index {
		return meta, false, fmt.Errorf("%w: %s is about %s, of index %d and term %d", ErrDamaged, metaFile, meta.ID, meta.Index, meta.Term)
	}
	return meta, true, nil
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
		return fmt.Errorf("%w: %s has %d bytes of %d", ErrDamaged, stateFile, size, meta.Size)
	}
	if !bytes.Equal(sum.Sum(nil), meta.CRC) {
		return fmt.Errorf("%w: %s does not match its checksum", ErrDamaged, stateFile)
	}
	return nil
}
