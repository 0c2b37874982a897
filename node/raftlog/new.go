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
	var failed error
	db, err := openStore(unfinished, false, log, func(err error) { failed = err })
	if err != nil {
		return err
	}
	var m mark
	if fill != nil {
		m, err = fill(db)
	}
	if err = errors.Join(err, failed, guarded(db.Close)); err != nil {
		return fmt.Errorf("fill %s: %w", unfinished, err)
	}
	k, err := openMarker(unfinished, m)
	if err != nil {
		return err
	}
	return errors.Join(k.file.Close(), syncFolder(unfinished), os.Rename(unfinished, path), syncFolder(dataDir))
}

// syncFolder makes what appeared in a folder, and went from it, survive a power cut.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err //nolint:wrapcheck // names the folder
	}
	return errors.Join(f.Sync(), f.Close())
}
