package auditlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/keysteward/keysteward/fsm/audit"
)

// readState returns the last record that was written, as SEQ:HASH; the zero head
// if none ever was. Behind it stands the number of the restore in whose history it is,
// if there was one.
func readState(path string) (h audit.Head, restores uint64, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return h, 0, nil
	}
	if err != nil {
		return h, 0, fmt.Errorf("place in the audit file: %w", err)
	}
	mark, number, counted := strings.Cut(strings.TrimSpace(string(text)), " ")
	h, err = audit.ParseMark(mark)
	if counted && err == nil {
		restores, err = strconv.ParseUint(number, 10, 64)
	}
	if err != nil {
		return h, 0, fmt.Errorf("place in the audit file, %s: %w: remove that file to begin anew", path, err)
	}
	return h, restores, nil
}

// writeState makes the file appear whole, and stay after a power cut.
func writeState(path string, h audit.Head, restores uint64) error {
	text := h.String()
	if restores > 0 {
		text += fmt.Sprintf(" %d", restores)
	}
	err := func() error {
		next := path + ".new"
		f, err := os.OpenFile(next, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return err //nolint:wrapcheck // wrapped below
		}
		_, err = f.WriteString(text + "\n")
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
