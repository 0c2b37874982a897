package schedule

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// temporary begins the names of files that are being written.
const temporary = ".keysteward-backup-"

// abandoned is how old a file that is being written is when its writer is gone.
const abandoned = 24 * time.Hour

// Folder keeps backups in a folder, which has to be there: a disk that is not mounted
// must not be mistaken for an empty one. Files have mode 0600.
type Folder struct{ path string }

// NewFolder does not look at the folder yet.
func NewFolder(path string) *Folder { return &Folder{path: path} }

// String implements Store.
func (f *Folder) String() string { return f.path }

// Put implements Store: a temporary file, fsync, rename, fsync of the folder.
func (f *Folder) Put(ctx context.Context, name string, content io.WriterTo) (err error) {
	out, err := os.CreateTemp(f.path, temporary+"*")
	if err != nil {
		return diskError(err)
	}
	defer func() {
		if err != nil {
			_ = out.Close()
			_ = os.Remove(out.Name())
		}
	}()
	buffered := bufio.NewWriterSize(whileAlive{ctx, out}, 1<<20)
	if _, err = content.WriteTo(buffered); err != nil {
		return diskError(err)
	}
	if err = errors.Join(buffered.Flush(), out.Sync(), out.Close()); err != nil {
		return diskError(err)
	}
	if err = os.Rename(out.Name(), filepath.Join(f.path, name)); err != nil {
		return diskError(err)
	}
	return syncFolder(f.path)
}

// Open implements Store.
func (f *Folder) Open(_ context.Context, name string) (io.ReadCloser, error) {
	file, err := os.Open(filepath.Join(f.path, name))
	if err != nil {
		return nil, diskError(err)
	}
	return file, nil
}

// List implements Store. It removes what a process that was killed left half written.
func (f *Folder) List(context.Context) ([]Entry, error) {
	files, err := os.ReadDir(f.path)
	if err != nil {
		return nil, diskError(err)
	}
	var list []Entry
	for _, file := range files {
		info, err := file.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue // it went away, or is none of ours
		}
		if strings.HasPrefix(file.Name(), temporary) {
			if time.Since(info.ModTime()) > abandoned {
				_ = os.Remove(filepath.Join(f.path, file.Name()))
			}
			continue
		}
		list = append(list, Entry{Name: file.Name(), Bytes: info.Size()})
	}
	return list, nil
}

// Remove implements Store.
func (f *Folder) Remove(_ context.Context, name string) error {
	if err := os.Remove(filepath.Join(f.path, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return diskError(err)
	}
	return nil
}

// Reason implements Store.
func (f *Folder) Reason(err error) error { return diskError(err) }

// diskError finds the reason of an error of a file.
func diskError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", ErrMissing, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", ErrDenied, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return diskError(err)
	}
	defer func() { _ = dir.Close() }()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

// whileAlive ends a long write when the context does.
type whileAlive struct {
	ctx context.Context //nolint:containedctx // the life of one write
	out io.Writer
}

// Write implements io.Writer.
func (w whileAlive) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, fmt.Errorf("write backup: %w", err)
	}
	return w.out.Write(p) //nolint:wrapcheck // as io.Writer promises it
}
