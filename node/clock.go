package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// tick logs the time that passed, measured by the monotonic clock. Time in
// which nobody led does not count: what waits on it waits longer.
//
// It is the session's pulse too: a leader that leads on but can not commit one
// tick after the other gives up. Failures are counted, not timed, so that a
// process that was paused does not give up when it wakes.
func (s *Session) tick(ctx context.Context) {
	ticker := time.NewTicker(s.node.cfg.TickInterval)
	defer ticker.Stop()
	last, failures := time.Now(), 0
	allowed := max(2, int(s.node.cfg.CommitTimeout/s.node.cfg.TickInterval))
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		err := s.logTick(ctx, now.Sub(last))
		if err == nil || errors.Is(err, ErrUnknownOutcome) { // never count the same time twice
			last = now
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			failures = 0
		case stuck(err):
			failures++
		}
		if failures > allowed {
			s.node.fail(fmt.Errorf("this leader can not commit: %w", err))
			return
		}
	}
}

func (s *Session) logTick(ctx context.Context, elapsed time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, s.node.cfg.CommitTimeout)
	defer cancel()
	_, err := s.Propose(ctx, &fsmpb.Command{
		Caller: dutyCaller("clock"),
		Body:   &fsmpb.Command_Tick{Tick: &fsmpb.Tick{ElapsedMs: uint64(max(0, elapsed.Milliseconds()))}},
	})
	return err
}

func dutyCaller(name string) *fsmpb.Caller { return &fsmpb.Caller{Name: name, Role: "duty"} }
