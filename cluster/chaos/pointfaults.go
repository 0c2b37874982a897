package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/keysteward/keysteward/cluster/await"
	"github.com/keysteward/keysteward/cluster/chaos/faults"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/ethereum"
	"github.com/keysteward/keysteward/node/failpoint"
)

const (
	// comeTime is how long somebody may take to come to a point. If nobody does, that is
	// no failure: there may be nothing to do.
	comeTime = 8 * time.Second
	// passTime is how long leadership may take to go from one to another. A leader that is
	// held for 20 s after it lost its office takes that for a failure of its own.
	passTime = 5 * time.Second
)

var errNotPassed = errors.New("leadership was not passed on")

// nothingDone is the end of a fault that did not happen.
func nothingDone(context.Context) error { return nil }

// catch waits for a process to come to a point, and claims its member; ok is false if
// nobody came, or another fault has it. Whoever came is held until the point is released.
func (s *stage) catch(ctx context.Context, point failpoint.Name) (member int, ok bool, err error) {
	if err := s.Points.Arm(point); err != nil {
		return 0, false, err //nolint:wrapcheck // says what it is
	}
	pid := 0
	err = await.For(ctx, comeTime, errNotHit, func() bool {
		var failure error
		pid, failure = s.Points.Caught(point)
		return failure != nil || pid != 0
	})
	if pid == 0 {
		return 0, false, errors.Join(ctx.Err(), s.Points.Release(point))
	}
	member = slices.IndexFunc(s.members(), func(i int) bool { return s.Nodes.PID(i) == pid })
	if member < 0 || !s.seize(member) {
		return 0, false, s.Points.Release(point) //nolint:wrapcheck // says what it is
	}
	return member, true, err
}

var errNotHit = errors.New("nobody came to the failpoint")

func (s *stage) members() []int {
	all := make([]int, s.count)
	for i := range all {
		all[i] = i
	}
	return all
}

// atPoint kills, pauses or isolates a leader between two steps of a deposit.
func (s *stage) atPoint(_ int, r *rand.Rand) faults.Fault {
	// Most of what can go wrong goes wrong beside the moment in which money leaves.
	points := append(ethereum.Failpoints(), ethereum.PointSigned, ethereum.PointSigned, ethereum.PointLogged, ethereum.PointSent)
	point, how := points[r.IntN(len(points))], r.IntN(3)
	name := []string{"kill", "pause", "isolate"}[how]
	return newFault(fmt.Sprintf("%s whoever comes to %q", name, point), func(ctx context.Context) (func(context.Context) error, error) {
		member, ok, err := s.catch(ctx, point)
		if !ok || err != nil {
			return nothingDone, err
		}
		fault := []func(int, *rand.Rand) faults.Fault{s.killed, s.paused, s.isolated}[how](member, r)
		heal, err := fault.Inject(ctx)
		if err == nil && how == 1 { // it goes on where it was when it wakes
			return s.then(heal, point, member), nil
		}
		if err = errors.Join(err, s.Points.Release(point)); err != nil {
			s.leave(member)
			return nil, err
		}
		return s.then(heal, "", member), nil
	})
}

// then ends a fault, releases the point if there is one, and leaves the member.
func (s *stage) then(heal func(context.Context) error, point failpoint.Name, member int) func(context.Context) error {
	return func(ctx context.Context) error {
		defer s.leave(member)
		err := heal(ctx)
		if point != "" {
			err = errors.Join(err, s.Points.Release(point))
		}
		return err
	}
}

// lateWords holds a leader that has taken commands and not handed them to Raft, has
// another one lead meanwhile, and then the first one again. What it took in its earlier
// leadership it hands over in its later one.
func (s *stage) lateWords(_ int, r *rand.Rand) faults.Fault {
	return newFault("late words", func(ctx context.Context) (func(context.Context) error, error) {
		member, ok, err := s.catch(ctx, node.PointEnqueue)
		if !ok || err != nil {
			return nothingDone, err
		}
		defer s.leave(member)
		// It can not hand over itself: that is put on record first, behind what is held.
		heal, err := s.isolated(member, r).Inject(ctx)
		if err != nil {
			return nil, errors.Join(err, s.Points.Release(node.PointEnqueue))
		}
		err = await.For(ctx, passTime, errNotPassed, func() bool { return s.anotherLeads(ctx, member) })
		if failed := heal(ctx); failed != nil {
			return nil, errors.Join(failed, s.Points.Release(node.PointEnqueue))
		}
		if err == nil { // others are at it too
			_ = await.For(ctx, passTime, errNotPassed, func() bool {
				for i := range s.count {
					if i != member {
						_ = s.pass(ctx, i, member) // refused until it was heard again
					}
				}
				_, leads := s.court(ctx, s.Nodes.APIs()[member])
				return leads
			})
		}
		return nothingDone, s.Points.Release(node.PointEnqueue)
	})
}

// anotherLeads reports whether any other member leads.
func (s *stage) anotherLeads(ctx context.Context, member int) bool {
	return slices.ContainsFunc(s.members(), func(i int) bool {
		if i == member {
			return false
		}
		_, leads := s.court(ctx, s.Nodes.APIs()[i])
		return leads
	})
}

// transferred hands leadership to somebody.
func (s *stage) transferred(member int, _ *rand.Rand) faults.Fault {
	return newFault("have "+faults.NodeName(member)+" lead", func(ctx context.Context) (func(context.Context) error, error) {
		for i := range s.count {
			if i != member {
				_ = s.pass(ctx, i, member) // all but the leader say that they do not lead
			}
		}
		return nothingDone, nil
	})
}

// pass has a leader hand over to another member.
func (s *stage) pass(ctx context.Context, from, to int) error {
	ctx, cancel := context.WithTimeout(ctx, passTime)
	defer cancel()
	id := s.idOf(ctx, to)
	if id == "" {
		return errNotPassed
	}
	var done struct{}
	return s.asker.Post(ctx, s.Nodes.APIs()[from], "/v1/cluster/transfer", map[string]string{"to": id}, &done) //nolint:wrapcheck // says what it is
}
