package node

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

const (
	// compactFrom is the smallest log file, in bytes, that is worth a copy.
	compactFrom = 64 << 20
	// compactTx is how much, in bytes, one transaction of the copy has.
	compactTx = 4 << 20
	// compactSpare is how much has to be left free beside the copy.
	compactSpare = 16 << 20
	// compactSuffix is of the copy while it is made; one that is left of a crash is of no use.
	compactSuffix = ".compact"
)

// compactor copies the log into a new file when the node starts, if most of the old one
// is free pages: a bolt file never shrinks by itself.
type compactor struct {
	path string
	from int64 // smallest file that is copied
	free func(folder string) (space, error)
	log  *slog.Logger
}

// compactLog is done before the log is opened, and never hinders the start: a log that
// can not be copied stays as it is.
func compactLog(cfg Config) {
	c := &compactor{path: filepath.Join(cfg.DataDir, logFile), from: compactFrom, free: cfg.free, log: cfg.Logger}
	if err := c.run(); err != nil {
		c.log.Warn("the log file was not compacted and stays as it is", "file", c.path, "reason", err)
	}
}

func (c *compactor) run() error {
	copied := c.path + compactSuffix
	if err := os.Remove(copied); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("what an earlier start left: %w", err)
	}
	info, err := os.Stat(c.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() < c.from {
		return nil
	}
	if err != nil {
		return err //nolint:wrapcheck // names the file
	}
	began := time.Now()
	used, done, err := c.copyTo(copied, info)
	if err != nil || !done {
		return errors.Join(err, removeIfThere(copied))
	}
	// From here on one file or the other is there, and both have the same log.
	if err := errors.Join(os.Rename(copied, c.path), syncFolder(filepath.Dir(c.path))); err != nil {
		return err
	}
	c.log.Info("the log file was compacted", "file", c.path, "before", info.Size(), "after", used, "took", time.Since(began).Round(time.Millisecond).String())
	return nil
}

// copyTo copies the log, if most of its file is free and the copy has room, and returns
// how large the copy is.
func (c *compactor) copyTo(path string, info fs.FileInfo) (size int64, done bool, err error) {
	options := boltOptions()
	src, err := bbolt.Open(c.path, 0o600, options) // not read-only: that would not count the free pages
	if err != nil {
		return 0, false, fmt.Errorf("open: %w", err)
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	free := int64(src.Stats().FreePageN) * int64(src.Info().PageSize)
	if free <= info.Size()/2 {
		return 0, false, nil
	}
	need := uint64(info.Size()-free) + uint64(info.Size()-free)/4 + compactSpare //nolint:gosec // not negative
	have, err := c.free(filepath.Dir(c.path))
	if err != nil {
		return 0, false, err
	}
	if have.free < need {
		return 0, false, fmt.Errorf("%s of it are free pages, %s are needed for a copy and %s are free: %w",
			bytesText(uint64(free)), bytesText(need), bytesText(have.free), errNoRoom) //nolint:gosec // not negative
	}
	options.NoSync = true // once, in the end
	dst, err := bbolt.Open(path, 0o600, options)
	if err != nil {
		return 0, false, fmt.Errorf("open: %w", err)
	}
	err = bbolt.Compact(dst, src, compactTx)
	if err = errors.Join(err, dst.Sync(), dst.Close()); err != nil {
		return 0, false, fmt.Errorf("copy: %w", err)
	}
	if info, err = os.Stat(path); err != nil {
		return 0, false, err //nolint:wrapcheck // names the file
	}
	return info.Size(), true, nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err //nolint:wrapcheck // names the file
	}
	return nil
}
