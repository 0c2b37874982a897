package faults

import (
	"context"
	"time"

	"github.com/keysteward/keysteward/node/failpoint"
)

// endsTime is how long a node may take to find out that its log takes nothing: all of
// them write every few seconds.
const endsTime = 30 * time.Second

// LogFails has every write of a node's log fail: with EIO before it is written, with EIO
// after it was written (a failed fsync), or with ENOSPC. The node has to end, and stays
// down until this is healed.
func (s Stage) LogFails(i int, how failpoint.LogFault) Fault {
	return New("log of "+NodeName(i)+": "+string(how), func(ctx context.Context) (func(context.Context) error, error) {
		if s.Points == "" {
			return nil, errNoPoints
		}
		if err := s.Points.FailLog(NodeName(i), how); err != nil {
			return nil, err //nolint:wrapcheck // says what it is
		}
		heal := func(ctx context.Context) error {
			if err := s.Points.HealLog(NodeName(i)); err != nil {
				return err //nolint:wrapcheck // says what it is
			}
			// It may be about to end.
			return s.start(i)(ctx)
		}
		if err := s.awaitEnd(ctx, i, endsTime); err != nil {
			_ = s.Points.HealLog(NodeName(i))
			return nil, err
		}
		return heal, nil
	})
}

// LogStalls has every write of a node's log take so much longer, until it is healed.
func (s Stage) LogStalls(i int, by time.Duration) Fault {
	return New("log of "+NodeName(i)+" stalls by "+by.String(), func(context.Context) (func(context.Context) error, error) {
		if s.Points == "" {
			return nil, errNoPoints
		}
		heal := func(ctx context.Context) error {
			if err := s.Points.HealLog(NodeName(i)); err != nil {
				return err //nolint:wrapcheck // says what it is
			}
			return s.start(i)(ctx) // a leader that could not commit for long has ended
		}
		return heal, s.Points.StallLog(NodeName(i), by) //nolint:wrapcheck // says what it is
	})
}

// ClockOff has a node's wall clock go wrong by so much, forwards or backwards. Its
// monotonic clock goes on as it should.
func (s Stage) ClockOff(i int, by time.Duration) Fault {
	return New("clock of "+NodeName(i)+" off by "+by.String(), func(context.Context) (func(context.Context) error, error) {
		if s.Points == "" {
			return nil, errNoPoints
		}
		heal := func(context.Context) error { return s.Points.SetClock(NodeName(i), 0) } //nolint:wrapcheck // says what it is
		return heal, s.Points.SetClock(NodeName(i), by)                                  //nolint:wrapcheck // says what it is
	})
}
