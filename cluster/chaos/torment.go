package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/keysteward/keysteward/cluster/chaos/faults"
)

const (
	// injectTime and healTime bound what a fault does itself.
	injectTime = 40 * time.Second
	healTime   = 60 * time.Second
	// diskTime is how long a member that lost its disk may take to vote again. Others are
	// tormented meanwhile, whose votes it takes to let it in.
	diskTime = 4 * time.Minute
)

// torment carries a plan out.
type torment struct {
	stage  *stage
	seen   *seen
	out    io.Writer
	began  time.Time
	onDone sync.WaitGroup

	mu      sync.Mutex
	busy    map[int]bool // members whose process is struck
	lost    bool         // a member lost its disk and is no voter with all data yet
	struck  int
	skipped int
	failed  []string
}

func newTorment(s *stage, seen *seen, out io.Writer) *torment {
	t := &torment{stage: s, seen: seen, out: out, busy: map[int]bool{}}
	s.seize, s.leave = t.seize, t.leave
	return t
}

// seize claims a member for a strike that finds out late whom it hits; false if another
// strike has it.
func (t *torment) seize(member int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[member] {
		return false
	}
	t.busy[member] = true
	return true
}

func (t *torment) leave(member int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.busy, member)
}

// carryOut returns when all strikes of the plan are over and healed, or, with what is on
// healed, soon after the context ended.
func (t *torment) carryOut(ctx context.Context, plan []strike) {
	t.began = time.Now()
	for _, s := range plan {
		if pause(ctx, time.Until(t.began.Add(s.at))) != nil {
			break
		}
		t.onDone.Go(func() { t.strike(ctx, s) })
	}
	t.onDone.Wait()
}

func (t *torment) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, "%s %7.3f  %s\n", time.Now().UTC().Format("15:04:05.000"), time.Since(t.began).Seconds(), fmt.Sprintf(format, args...))
}

// strike does one strike and heals it.
func (t *torment) strike(ctx context.Context, s strike) {
	member, ok := t.claim(s)
	if !ok {
		t.say("#%d %s: left out, others are at it", s.number, s.kind.name)
		return
	}
	healed := false
	defer func() { t.free(s, member, healed) }()
	fault := s.kind.make(t.stage, member, rand.New(rand.NewPCG(s.draw, 0))) //nolint:gosec // nobody must not guess it
	t.say("#%d %s, for %s", s.number, fault.Name(), s.lasts.Round(time.Millisecond))
	// What was begun is brought to its end.
	whole := context.WithoutCancel(ctx)
	injecting, cancel := context.WithTimeout(whole, injectTime)
	heal, err := fault.Inject(injecting)
	cancel()
	if err != nil {
		t.fail("#%d %v", s.number, err)
		return
	}
	_ = pause(ctx, s.lasts)
	limit := healTime
	if s.kind.scope == disk {
		limit = diskTime
	}
	healing, cancel := context.WithTimeout(whole, limit)
	defer cancel()
	if err := heal(healing); err != nil {
		t.fail("#%d %v", s.number, err)
		return
	}
	healed = true
	t.say("#%d end of %s", s.number, fault.Name())
}

// fail notes that a fault could not be injected or healed. What is not as it was meant to
// be proves nothing.
func (t *torment) fail(format string, args ...any) {
	t.say("FAILED "+format, args...)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = append(t.failed, fmt.Sprintf(format, args...))
}

// claim finds the member for a strike; not ok if nobody is left for it.
func (t *torment) claim(s strike) (member int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	member = s.member
	if leader := int(t.seen.leader.Load()); s.leader && leader >= 0 {
		member = leader
	}
	if s.kind.claimsNobody() {
		t.struck++
		return member, true
	}
	// Only one at a time loses its disk, and none is struck while all are restarted.
	if s.kind.scope == disk && t.lost || s.kind.name == "roll" && len(t.busy) > 0 {
		t.skipped++
		return 0, false
	}
	if s.kind.name == "roll" {
		for i := range t.stage.count {
			t.busy[i] = true
		}
		t.struck++
		return member, true
	}
	for range t.stage.count {
		if !t.busy[member] {
			t.busy[member] = true
			t.lost = t.lost || s.kind.scope == disk
			t.struck++
			return member, true
		}
		member = (member + 1) % t.stage.count
	}
	t.skipped++
	return 0, false
}

// free leaves what a strike claimed. After one that lost a disk and was not healed no other
// disk is lost: there might be no majority any more that remembers.
func (t *torment) free(s strike, member int, healed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case s.kind.claimsNobody():
	case s.kind.name == "roll":
		clear(t.busy)
	default:
		delete(t.busy, member)
		if s.kind.scope == disk {
			t.lost = !healed
		}
	}
}

// struckNow tells whether a member's process is struck at this moment.
func (t *torment) struckNow(member int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.busy[member]
}

var errNotBack = errors.New("the node does not come back as a voter")

// newFault is faults.New under a shorter name.
func newFault(name string, inject func(ctx context.Context) (func(context.Context) error, error)) faults.Fault {
	return faults.New(name, inject)
}
