package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/cluster/await"
	"github.com/keysteward/keysteward/cluster/chaos/faults"
)

const (
	// slowTimes is how many times too slow the clock of one member runs in every run: it
	// leads by its lease when the others have long elected another one. What is safe must
	// not depend on clocks.
	slowTimes = 8
	// unheardTimes is how often in a row it happens.
	unheardTimes = 3
	// calmTime is how long a leader that is asked nothing may take to have all replicated.
	calmTime = 300 * time.Millisecond
	// crowded is how late the slowest connection to it is then.
	crowded = 500 * time.Millisecond
	// silentFor is how late the others hear it: after they elected another one.
	silentFor = 4 * time.Second
	// learnTime is how long it may take to learn of that.
	learnTime = 4 * time.Second
)

// slowMember is the one whose clock is slow.
func (p program) slowMember() int { return int(p.seed % uint64(p.nodes)) } //nolint:gosec // a handful

// unheard is a leader with a slow clock that none of the others hears any more, and that
// hears them late, in each connection by another time. It handed nothing to Raft for a
// while. At the moment in which it can know of another leader, all that it was asked
// meanwhile comes at once. So it leads for a while beside the other one, and what that one
// says arrives in another order than it was said; in which is chance, so it happens to it
// some times in a row.
func (s *stage) unheard(_ int, _ *rand.Rand) faults.Fault {
	member := s.slow
	return newFault(faults.NodeName(member)+" leads unheard", func(ctx context.Context) (func(context.Context) error, error) {
		if !s.seize(member) {
			return nothingDone, nil
		}
		defer s.leave(member)
		for range unheardTimes {
			if !s.made(ctx, member) {
				continue
			}
			if err := s.unheardOnce(ctx, member); err != nil {
				return nil, err
			}
		}
		return nothingDone, nil
	})
}

// unheardOnce does it once, and heals it.
func (s *stage) unheardOnce(ctx context.Context, member int) error {
	name := faults.NodeName(member)
	if err := s.Points.HoldWords(name); err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	_ = pause(ctx, calmTime)
	undo := s.each(member, func(other int) func() { return s.links.Scatter(other, member, crowded) })
	undo = append(undo, s.each(member, func(other int) func() { return s.links.Delay(member, other, silentFor) })...)
	s.awaitTerm(ctx, member)
	err := s.Points.LetGo(name)
	_ = pause(ctx, crowded) // what it is told late it is told after that
	for _, f := range undo {
		f()
	}
	if err != nil {
		return fmt.Errorf("let go: %w", err)
	}
	return nil
}

// made has a member lead; false if it does not come to that.
func (s *stage) made(ctx context.Context, member int) bool {
	leads := func() bool { _, yes := s.court(ctx, s.Nodes.APIs()[member]); return yes }
	for i := range s.count {
		if i != member && !leads() {
			_ = s.pass(ctx, i, member) // all but the leader say that they do not lead
		}
	}
	return await.For(ctx, passTime, errNotPassed, leads) == nil
}

// awaitTerm returns when a member knows of a later term than now, or not in time.
func (s *stage) awaitTerm(ctx context.Context, member int) {
	const lookGap = 2 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, learnTime)
	defer cancel()
	term := func() (now int64) {
		var c wire.Cluster
		if s.asker.Ask(ctx, s.Nodes.APIs()[member], "/v1/cluster", nil, &c) == nil {
			now = c.Term
		}
		return now
	}
	for began := term(); term() <= began; {
		if pause(ctx, lookGap) != nil {
			return
		}
	}
}
