package restoring

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node/backup"
)

// ErrUnsound says that the file is genuine, and that the state in it is none to go on from.
var ErrUnsound = errors.New("the state in the backup can not be used")

// ErrNoMemory says that a restore would need more memory than this process may have.
var ErrNoMemory = errors.New("too little memory for a restore")

// inMemory is how many times the size of the stream a restore takes of memory, beyond
// what the process has before: what is staged, and in the log, is in memory as it is, and
// the state that it becomes takes twice to three times its size in the stream.
const inMemory = 5

// Examine reads the state in the backup and refuses one that no cluster could go on from
// ([fsm.CheckBackup]), or that does not fit into the memory of this process: the members
// all read it at one moment, so they would all end at it. It is what [File.Restore] goes
// by, and to be called before it.
func (f *File) Examine(view *fsm.View) error {
	if err := f.checkMemory(); err != nil {
		return err
	}
	h, err := f.rewind()
	if err != nil {
		return err
	}
	in, err := backup.NewReader(bufio.NewReaderSize(f.file, 1<<20), h, &f.key)
	if err != nil {
		return err //nolint:wrapcheck // says what it is
	}
	switch err := fsm.CheckBackup(in, f.Manifest.ClusterID, f.Manifest.Index, view.Meta().GetFeatureLevel()); {
	case errors.Is(err, fsm.ErrUnknownCommand), errors.Is(err, fsm.Refused(fsm.FeatureRefused)):
		return fmt.Errorf("%w: %w", ErrNewerState, err)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnsound, err)
	}
	f.examined = true
	return nil
}

// levelTime is how long a cluster that was just founded may take until it is at the
// feature level of its programs, and levelPoll how often that is looked at.
const (
	levelTime = 10 * time.Second
	levelPoll = 100 * time.Millisecond
	// restoreLevel is from which on the log has commands that restore.
	restoreLevel = 1
)

// AwaitLevel waits until the cluster is at the feature level of the backup, and at that of
// the commands of a restore, which it comes to by itself within seconds if all members run
// programs that know it. Whether it did is told by what follows.
func (f *File) AwaitLevel(ctx context.Context, view func() *fsm.View) {
	ctx, cancel := context.WithTimeout(ctx, levelTime)
	defer cancel()
	tick := time.NewTicker(levelPoll)
	defer tick.Stop()
	want := max(f.Manifest.FeatureLevel, restoreLevel)
	for want <= fsm.FeatureLevel && view().Meta().GetFeatureLevel() < want {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (f *File) checkMemory() error {
	limit := f.of.memory()
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	has, need := now.Sys-now.HeapIdle, uint64(f.Trailer.Bytes)*inMemory //nolint:gosec // not negative
	if limit == 0 || has+need <= limit {
		return nil
	}
	return fmt.Errorf("%w: the state of %d MiB takes about %d MiB more while it is restored, and this process may have %d MiB; raise the memory limit (and GOMEMLIMIT) of all nodes, in Kubernetes resources.limits.memory",
		ErrNoMemory, f.Trailer.Bytes>>20, need>>20, limit>>20)
}

// memoryLimit is how much memory this process may have, in bytes: the lowest limit that
// the Go runtime or a control group sets; 0 if there is none.
func memoryLimit() uint64 {
	limit := uint64(math.MaxInt64)
	if n := debug.SetMemoryLimit(-1); n > 0 && uint64(n) < limit {
		limit = uint64(n)
	}
	for _, path := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(path)
		if n, parsed := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 63); err == nil && parsed == nil {
			limit = min(limit, n)
		}
	}
	if limit > math.MaxInt64/2 { // no limit, or a number that means none
		return 0
	}
	return limit
}
