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
	// lockPatience is how long others may take to write: kubectl needs milliseconds.
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

func lockOne(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	ticks := time.NewTicker(lockPause)
	defer ticks.Stop()
	for {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			return f.Close()
		}
		if !errors.Is(err, os.ErrExist) {
			return err
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return fmt.Errorf("%s is there: kubectl or another keysteward writes the file; if none of them runs, one was killed: remove it: %w", name, ctx.Err())
		}
	}
}
