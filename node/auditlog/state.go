package auditlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/keysteward/keysteward/fsm/audit"
)

// readState returns the last record that was written, as SEQ:HASH; the zero head
// if none ever was.
func readState(path string) (audit.Head, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return audit.Head{}, nil
	}
	if err != nil {
		return audit.Head{}, fmt.Errorf("place in the audit file: %w", err)
	}
	h, err := audit.ParseMark(strings.TrimSpace(string(text)))
	if err != nil {
		return h, fmt.Errorf("place in the audit file, %s: %w: remove that file to begin anew", path, err)
	}
	return h, nil
}

// writeState makes the file appear whole, and stay after a power cut.
func writeState(path string, h audit.Head) error {
	err := func() error {
		next := path + ".new"
		f, err := os.OpenFile(next, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return err //nolint:wrapcheck // wrapped below
		}
		_, err = f.WriteString(h.String() + "\n")
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
		if err := os.Rename(next, path); err != nil {
			return err //nolint:wrapcheck // wrapped below
		}
		return syncFolder(filepath.Dir(path))
	}()
	if err != nil {
		return fmt.Errorf("remember the place in the audit file: %w", err)
	}
	return nil
}

// syncFolder makes what was added to the folder stay after a power cut.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err //nolint:wrapcheck // the caller wraps it
	}
	return errors.Join(d.Sync(), d.Close())
}
