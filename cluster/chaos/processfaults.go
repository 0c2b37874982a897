package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"syscall"
	"time"

	"github.com/keysteward/keysteward/cluster/await"
	"github.com/keysteward/keysteward/cluster/chaos/faults"
	"github.com/keysteward/keysteward/node/failpoint"
)

const (
	// stopTime is how long a node that was told to end may take.
	stopTime = 30 * time.Second
	// backTime is how long a node may take to be ready while others are tormented.
	backTime = 60 * time.Second
)

func (s *stage) killed(member int, _ *rand.Rand) faults.Fault { return s.Kill(member) }

func (s *stage) paused(member int, _ *rand.Rand) faults.Fault { return s.Pause(member) }

const (
	// crowd is how many callers work at a node that falls asleep, and when it wakes.
	crowd = 32
	// gatherTime is for how long they do so before, and afterwards.
	gatherTime = 200 * time.Millisecond
)

// slept is paused in the middle of much work, and finds it again when it wakes: a crowd
// wants changes that nobody needs. So answers of the others are on their way when it falls
// asleep, which let it take itself for the leader when it wakes, and there is much to log.
func (s *stage) slept(member int, _ *rand.Rand) faults.Fault {
	pausing := s.Pause(member)
	return newFault(pausing.Name(), func(ctx context.Context) (func(context.Context) error, error) {
		working, stop := context.WithCancel(context.WithoutCancel(ctx))
		var all sync.WaitGroup
		for range crowd {
			all.Go(func() {
				for working.Err() == nil {
					_ = s.asker.Delete(working, s.Nodes.APIs()[member], podPath("nobody"), url.Values{"fence": {"1"}, "podUid": {nobody}})
					_ = pause(working, time.Millisecond)
				}
			})
		}
		_ = pause(ctx, gatherTime)
		wake, err := pausing.Inject(ctx)
		if err != nil {
			stop()
			all.Wait()
			return nil, err //nolint:wrapcheck // says what it is
		}
		return func(ctx context.Context) error {
			err := wake(ctx)
			_ = pause(ctx, gatherTime)
			stop()
			all.Wait()
			return err
		}, nil
	})
}

// nobody is the UID of a pod that there is not.
const nobody = "00000000-0000-4000-8000-000000000000"

func (s *stage) logStalled(member int, r *rand.Rand) faults.Fault {
	return s.LogStalls(member, time.Duration(20+r.IntN(800))*time.Millisecond)
}

func (s *stage) logFailed(member int, r *rand.Rand) faults.Fault {
	all := []failpoint.LogFault{failpoint.LogBroken, failpoint.LogUnsynced, failpoint.LogFull}
	return s.LogFails(member, all[r.IntN(len(all))])
}

func (s *stage) clockOff(member int, r *rand.Rand) faults.Fault {
	by := time.Duration(r.IntN(48*3600)-24*3600) * time.Second
	return s.ClockOff(member, by)
}

// certificateOver has certificates for a second more, and then none that are valid.
func (s *stage) certificateOver(member int, _ *rand.Rand) faults.Fault {
	return s.CertificateExpires(member, time.Second)
}

// terminated is told to end (SIGTERM): a leader hands over first.
func (s *stage) terminated(member int, _ *rand.Rand) faults.Fault {
	return newFault("terminate "+faults.NodeName(member), func(ctx context.Context) (func(context.Context) error, error) {
		start := func(ctx context.Context) error { return s.Nodes.StartNode(ctx, member) } //nolint:wrapcheck // New says what
		return start, s.terminate(ctx, member)
	})
}

func (s *stage) terminate(ctx context.Context, member int) error {
	if err := s.Nodes.Signal(member, syscall.SIGTERM); err != nil {
		return err //nolint:wrapcheck // New says what
	}
	limited, cancel := context.WithTimeoutCause(ctx, stopTime, errHangs)
	defer cancel()
	if err := s.Nodes.AwaitEnd(limited, member); !errors.Is(err, errHangs) {
		return err //nolint:wrapcheck // New says what
	}
	// Its log tells where it hangs.
	return errors.Join(errHangs, s.Nodes.Signal(member, syscall.SIGQUIT), s.Nodes.AwaitEnd(ctx, member))
}

var errHangs = fmt.Errorf("it was told to end and did not within %v; its log has all goroutines", stopTime)

// replaced is killed and comes back with an empty disk, under its name and a new ID.
func (s *stage) replaced(member int, _ *rand.Rand) faults.Fault {
	return newFault("replace "+faults.NodeName(member), func(ctx context.Context) (func(context.Context) error, error) {
		undo, err := s.Kill(member).Inject(ctx)
		if err != nil {
			return nil, err //nolint:wrapcheck // says what it is
		}
		if err := s.EmptyDisk(member); err != nil {
			return nil, errors.Join(err, undo(ctx))
		}
		return func(ctx context.Context) error {
			if err := undo(ctx); err != nil {
				return err
			}
			return s.awaitVoter(ctx, member)
		}, nil
	})
}

// rolled restarts all nodes one after the other, each when the one before is ready.
func (s *stage) rolled(_ int, _ *rand.Rand) faults.Fault {
	return newFault("rolling restart", func(ctx context.Context) (func(context.Context) error, error) {
		for i := range s.count {
			if err := s.terminate(ctx, i); err != nil {
				return nil, err
			}
			if err := s.Nodes.StartNode(ctx, i); err != nil {
				return nil, fmt.Errorf("start %s again: %w", faults.NodeName(i), err)
			}
			// Links may be cut meanwhile; who rolls on without looking loses the quorum.
			_ = await.For(ctx, backTime/6, errNotBack, func() bool { return s.ready(ctx, i) })
		}
		return func(context.Context) error { return nil }, nil
	})
}

// chainAway pauses geth: its port takes connections, and nobody answers.
func (s *stage) chainAway(_ int, _ *rand.Rand) faults.Fault {
	return newFault("pause geth", func(context.Context) (func(context.Context) error, error) {
		heal := func(context.Context) error { return s.Nodes.SignalProgram("geth", syscall.SIGCONT) } //nolint:wrapcheck // New says what
		return heal, s.Nodes.SignalProgram("geth", syscall.SIGSTOP)                                   //nolint:wrapcheck // New says what
	})
}
