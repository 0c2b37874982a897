package kubefile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// lockPatience is how long one of the others may take to write: kubectl needs
	// milliseconds.
	lockPatience = 5 * time.Second
	lockPause    = 20 * time.Millisecond
)

// lock takes the locks of kubectl, a file "NAME.lock" beside each, in kubectl's order.
// The folders are made. Unlock gives them back.
func lock(ctx context.Context, paths []string) (unlock func(), err error) {
	var taken []string
	unlock = func() {
		for _, name := range taken {
			_ = os.Remove(name)
		}
	}
	sorted := slices.Sorted(slices.Values(paths))
	for _, path := range slices.Compact(sorted) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			unlock()
			return nil, err
		}
		if err := lockOne(ctx, path+".lock"); err != nil {
			unlock()
			return nil, err
		}
		taken = append(taken, path+".lock")
	}
	return unlock, nil
}

// lockOne waits while the lock changes hands, and gives up on one that stays.
func lockOne(ctx context.Context, name string) error {
	ticks := time.NewTicker(lockPause)
	defer ticks.Stop()
	var held os.FileInfo
	var since time.Time
	for {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			return f.Close()
		}
		if !errors.Is(err, os.ErrExist) {
			return err
		}
		now, err := os.Lstat(name)
		if err == nil && (held == nil || !os.SameFile(held, now) || !held.ModTime().Equal(now.ModTime())) {
			held, since = now, time.Now()
		}
		if held != nil && time.Since(since) > lockPatience {
			return errLocked(name, context.DeadlineExceeded)
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return errLocked(name, ctx.Err())
		}
	}
}

func errLocked(name string, cause error) error {
	return fmt.Errorf("%s is there: kubectl or another keysteward writes the file; if none of them runs, one was killed: remove it: %w", name, cause)
}
