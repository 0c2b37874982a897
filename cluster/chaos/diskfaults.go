package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"

	"github.com/keysteward/keysteward/cluster/chaos/faults"
)

// diskBytes is how large the disks in memory are: they hold the log of a long run.
const diskBytes = 512 << 20

// mayMount reports whether this process can make disks in memory.
func mayMount() bool { return runtime.GOOS == "linux" && os.Geteuid() == 0 }

// mountDisks gives each member a disk of its own, that can be full.
func (s *stage) mountDisks() error {
	for i := range s.count {
		unmount, err := s.MountDisk(i, diskBytes)
		if err != nil {
			return err //nolint:wrapcheck // says what it is
		}
		s.disks = append(s.disks, unmount)
	}
	return nil
}

// unmountDisks leaves what is on them in the folder.
func (s *stage) unmountDisks() error {
	var errs []error
	for _, unmount := range s.disks {
		errs = append(errs, unmount())
	}
	s.disks = nil
	return errors.Join(errs...)
}

// diskFull leaves a member nothing, a little, or less than it should have.
func (s *stage) diskFull(member int, r *rand.Rand) faults.Fault {
	left := []uint64{0, 64 << 10, 8 << 20}
	return s.DiskFull(member, left[r.IntN(len(left))])
}

// damaged finds files of its own damaged, says so and does not start, and comes back with
// an empty disk, under a new ID.
func (s *stage) damaged(member int, r *rand.Rand) faults.Fault {
	list := []faults.Damage{
		faults.LogCut, faults.LogGarbage, faults.LogEntryFlipped, faults.LogMarkGone, faults.LogGone, faults.TermGone, faults.IDGone,
	}
	if s.snapshots {
		list = append(list, faults.SnapshotFlipped, faults.SnapshotCut, faults.SnapshotMeta)
	}
	damage := s.Damage(member, list[r.IntN(len(list))], r)
	return newFault(damage.Name(), func(ctx context.Context) (func(context.Context) error, error) {
		undo, err := damage.Inject(ctx)
		if errors.Is(err, faults.ErrNothingToDamage) {
			return nothingDone, nil // it runs again
		}
		if err != nil {
			return nil, err //nolint:wrapcheck // says what it is
		}
		return func(ctx context.Context) error {
			if err := undo(ctx); err != nil {
				return err
			}
			return s.awaitVoter(ctx, member)
		}, nil
	})
}
