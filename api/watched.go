package api

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

// watchedAgain is how often, at most, a file is looked at.
const watchedAgain = time.Second

const maxWatched = 1 << 20

// watched is what a file of the server says. The file is read again when it
// changes. One that has become invalid is logged, and what was read before stays
// in force: a slip of the pen must not lock out those who would mend it. One that is
// taken away says nothing more, so taking it away shuts the door that it was.
type watched[T any] struct {
	what  string // the kind of file
	path  string
	log   *slog.Logger
	parse func([]byte) (T, error)

	mu      sync.Mutex
	checked time.Time
	seen    fs.FileInfo // nil while the file is gone
	value   T
}

func watch[T any](what, path string, log *slog.Logger, parse func([]byte) (T, error)) (*watched[T], error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	w := &watched[T]{what: what, path: path, log: log, parse: parse, checked: time.Now()}
	var err error
	if w.value, w.seen, err = w.read(); err != nil {
		return nil, err
	}
	return w, nil
}

// now is what the file says, as of a second ago at most.
func (w *watched[T]) now() T {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refresh()
	return w.value
}

// refresh reads the file again if it changed since it was last looked at.
func (w *watched[T]) refresh() {
	if time.Since(w.checked) < watchedAgain {
		return
	}
	w.checked = time.Now()
	info, err := os.Stat(w.path)
	if err == nil && w.seen != nil && unchanged(w.seen, info) {
		return
	}
	value, info, err := w.read()
	if errors.Is(err, fs.ErrNotExist) {
		if w.seen != nil {
			w.log.Warn("a file was taken away; nothing that was read of it is valid any more", "what", w.what, "file", w.path)
		}
		w.value, w.seen = value, nil
		return
	}
	if err != nil {
		w.log.Error("a file changed and is invalid; what was read of it before stays valid", "what", w.what, "file", w.path, "error", err)
		return
	}
	w.value, w.seen = value, info
	w.log.Info("read a file again", "what", w.what, "file", w.path)
}

func unchanged(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && a.Mode() == b.Mode()
}

func (w *watched[T]) read() (value T, info fs.FileInfo, err error) {
	f, err := os.Open(w.path)
	if err != nil {
		return value, nil, err //nolint:wrapcheck // it names the file
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return value, nil, err //nolint:wrapcheck // it names the file
	}
	if info.Mode().Perm()&0o022 != 0 {
		return value, nil, fmt.Errorf("%s: mode %o lets others write: chmod go-w", w.path, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxWatched+1))
	if err != nil {
		return value, nil, err //nolint:wrapcheck // it names the file
	}
	if len(data) > maxWatched {
		return value, nil, fmt.Errorf("%s: more than %d bytes", w.path, maxWatched)
	}
	if value, err = w.parse(data); err != nil {
		return value, nil, fmt.Errorf("%s: %w", w.path, err)
	}
	return value, info, nil
}
