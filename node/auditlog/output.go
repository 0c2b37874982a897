package auditlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/keysteward/keysteward/fsm/audit"
)

// ErrForeignFile says that the file holds something else than audit records. It
// is left as it is.
var ErrForeignFile = errors.New("the file holds something else than audit records: name another one, or move it away")

// ErrInUse says that another process writes to the file.
var ErrInUse = errors.New("another process writes audit records to the file")

// output is the open file.
type output struct {
	path string
	file *os.File
}

// reopen opens the file by its name, mends it, and looks how far it has come. A
// file that is new goes on where the one before it ended.
func (s *Shipper) reopen() error {
	s.drop()
	out, last, err := openOutput(s.cfg.Path)
	if err != nil {
		return fmt.Errorf("audit file %s: %w", s.cfg.Path, err)
	}
	s.out = out
	if last != nil {
		s.last.Store(last)
	}
	return nil
}

// reopenIfMoved opens the file again if it was rotated away, or is not open, and reports
// whether it did: the one that was opened may have come further, or not as far.
func (s *Shipper) reopenIfMoved() (reopened bool, err error) {
	if s.out != nil {
		mine, err := s.out.file.Stat()
		if err != nil {
			return false, fmt.Errorf("audit file: %w", err)
		}
		if named, err := os.Stat(s.cfg.Path); err == nil && os.SameFile(mine, named) {
			return false, nil
		}
	}
	return true, s.reopen()
}

// drop closes the file after trouble with it, of which more is heard when it is opened again.
func (s *Shipper) drop() {
	if s.out != nil {
		_ = s.out.close()
		s.out = nil
	}
}

func (o *output) close() error {
	if err := o.file.Close(); err != nil {
		return fmt.Errorf("close the audit file: %w", err)
	}
	return nil
}

// usualLine is more than the bytes of most lines.
const usualLine = 640

// append writes lines and makes them stay.
func (o *output) append(lines []audit.Line) error {
	text := make([]byte, 0, len(lines)*usualLine)
	for _, l := range lines {
		var err error
		if text, err = l.Append(text); err != nil {
			return err //nolint:wrapcheck // says what it is
		}
	}
	if _, err := o.file.Write(text); err != nil {
		return fmt.Errorf("write audit records: %w", err)
	}
	if err := o.file.Sync(); err != nil {
		return fmt.Errorf("write audit records: %w", err)
	}
	return nil
}

// openOutput opens and locks the file; last is nil if it has no line.
func openOutput(path string) (o *output, last *audit.Head, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, nil, err //nolint:wrapcheck // the caller names the file
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err //nolint:wrapcheck // the caller names the file
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%w: it is no regular file", ErrForeignFile)
	}
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, nil, ErrInUse
	case err != nil:
		return nil, nil, fmt.Errorf("lock: %w", err)
	}
	if last, err = mend(f, info.Size()); err != nil {
		return nil, nil, err
	}
	if err := syncFolder(filepath.Dir(path)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return nil, nil, err
	}
	return &output{path: path, file: f}, last, nil
}

// mend cuts off what a write that was interrupted left, and returns the place of
// the last line. What does not look like a record of ours is not touched.
func mend(f *os.File, size int64) (*audit.Head, error) {
	tail := make([]byte, min(size, 2*audit.MaxLine))
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return nil, err //nolint:wrapcheck // the caller names the file
	}
	whole := tail[:bytes.LastIndexByte(tail, '\n')+1]
	var last *audit.Head
	for len(whole) > 0 && last == nil {
		start := bytes.LastIndexByte(whole[:len(whole)-1], '\n') + 1
		l, err := audit.ParseLine(whole[start : len(whole)-1])
		switch {
		case err == nil:
			h := headOf(l)
			last = &h
		case bytes.IndexByte(whole[start:], 0) >= 0: // a power cut leaves zeros where nothing had come to the disk
			whole = whole[:start]
		default:
			return nil, fmt.Errorf("%w: its last line: %w", ErrForeignFile, err)
		}
	}
	torn := tail[len(whole):]
	if len(torn) > audit.MaxLine || len(torn) > 0 && !looksOurs(torn) {
		return nil, ErrForeignFile
	}
	if len(torn) > 0 {
		if err := f.Truncate(size - int64(len(torn))); err != nil {
			return nil, fmt.Errorf("mend the torn last line: %w", err)
		}
		if err := f.Sync(); err != nil {
			return nil, fmt.Errorf("mend the torn last line: %w", err)
		}
	}
	return last, nil
}

// looksOurs reports whether a torn line begins the way all of ours do.
func looksOurs(torn []byte) bool {
	torn, _, _ = bytes.Cut(torn, []byte{0})
	for _, begin := range []string{`{"seq":`, `{"gap":`} {
		if n := min(len(begin), len(torn)); string(torn[:n]) == begin[:n] {
			return true
		}
	}
	return false
}
