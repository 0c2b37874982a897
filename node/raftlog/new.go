package raftlog

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
)

// newSuffix is of a store that is being made; one that a crash left is of no use.
const newSuffix = ".new"

// makeNew makes the store of a data folder, if it has none, and fills it. It appears whole
// or not at all.
func makeNew(dataDir string, log *slog.Logger, fill func(*pebble.DB) (mark, error)) error {
	path := filepath.Join(dataDir, Folder)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err //nolint:wrapcheck // names the file
	}
	unfinished := path + newSuffix
	if err := os.RemoveAll(unfinished); err != nil {
		return err //nolint:wrapcheck // names the file
	}
	if err := os.Mkdir(unfinished, 0o700); err != nil {
		return err //nolint:wrapcheck // names the file
	}
	err := fillNew(unfinished, log, fill)
	if err == nil { // one after the other: what is not on the disk is not put in its place
		err = os.Rename(unfinished, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("fill %s: %w", unfinished, err), os.RemoveAll(unfinished)) // the disk may be full
	}
	return syncFolder(dataDir)
}

// fillNew makes a store, fills it, and syncs all of it.
func fillNew(path string, log *slog.Logger, fill func(*pebble.DB) (mark, error)) error {
	var failed heard
	db, err := openStore(path, false, log, failed.fail)
	if err != nil {
		return err
	}
	var m mark
	if fill != nil {
		m, err = fill(db)
	}
	closed := guarded(db.Close)
	if err = errors.Join(err, failed.failure(), closed); err != nil {
		return err
	}
	k, err := openMarker(path, m)
	if err != nil {
		return err
	}
	return errors.Join(k.file.Close(), syncFolder(path))
}

// syncFolder makes what appeared in a folder, and went from it, survive a power cut.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err //nolint:wrapcheck // names the folder
	}
	return errors.Join(f.Sync(), f.Close())
}
