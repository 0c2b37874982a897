package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/failpoint"
)

// Scale says how many nodes there are to be. It is safe for concurrent use.
type Scale interface {
	// Ordinal of a node by its name; not ok for one that is none of those counted.
	Ordinal(name string) (i int, ok bool)
	// Wanted is how many there are to be, as far as is known. An error means that it
	// is not known, and nothing follows from that.
	Wanted(ctx context.Context) (int, error)
	// Confirmed asks anew.
	Confirmed(ctx context.Context) (int, error)
}

const (
	tendInterval = 250 * time.Millisecond
	// looksBefore is how often in a row a member has to have caught up before it may
	// vote, and to be silent before it is removed.
	looksBefore = 2
	// minVoters is what removing members never goes below.
	minVoters = 3
	// passInterval is how often a leader that is not wanted offers its leadership.
	passInterval = 5 * time.Second
)

// tender looks after the members while this node leads. What it remembers is only of
// this leadership; the next leader sees the same and goes on.
type tender struct {
	*peers
	term   uint64
	ready  map[string]int // member → looks in a row at which it had caught up
	silent map[string]int // member → looks in a row at which it did not answer
	passed time.Time
	said   string
}

// tend sees to it that members vote once they have caught up, that those who are not
// wanted any more leave, and that the records know of no others.
func tend(ctx context.Context, p *peers) error {
	t := &tender{peers: p}
	for {
		if status := p.node.Status(); status.IsLeader {
			if t.term != status.Term {
				t.term, t.ready, t.silent, t.said = status.Term, map[string]int{}, map[string]int{}, ""
			}
			t.look(ctx, status)
		}
		if err := pause(ctx, tendInterval); err != nil {
			return err
		}
	}
}

// look does at most one change of the configuration, and that only if there was no
// other since it looked.
func (t *tender) look(ctx context.Context, status node.Status) {
	c, err := t.court(ctx)
	if err != nil {
		return
	}
	err = t.forget(ctx, c)
	changed := false
	if err == nil {
		changed, err = t.promote(ctx, c, status)
	}
	if err == nil && !changed && t.scale != nil && c.wanted > 0 { // none at all: everything is stopped, not given up
		err = t.shrink(ctx, c)
	}
	if err != nil && ctx.Err() == nil {
		t.tell(err.Error())
	}
}

// tell logs what hinders, once until it is something else.
func (t *tender) tell(what string) {
	if what != t.said {
		t.log.Warn("members are not as they should be yet", "reason", what)
	}
	t.said = what
}

// forget strikes off the records who is no member.
func (t *tender) forget(ctx context.Context, c *court) error {
	for m := range t.node.View().Members() {
		if _, member := c.config.Find(m.GetNodeId()); !member {
			t.log.Info("no member any more", "node", m.GetNodeId())
			if err := t.strike(ctx, m.GetNodeId()); err != nil {
				return err
			}
		}
	}
	return nil
}

// promote lets one member vote that has caught up.
func (t *tender) promote(ctx context.Context, c *court, status node.Status) (changed bool, err error) {
	for _, m := range c.config.Members {
		if m.Voter {
			continue
		}
		id, err := t.identity(ctx, m.Address)
		if c.mayNotVote(m, id, err, status.CommitIndex) != "" {
			delete(t.ready, m.ID)
			continue
		}
		if t.ready[m.ID]++; t.ready[m.ID] < looksBefore {
			continue
		}
		failpoint.Reach(PointBeforePromotion)
		if err := t.node.Promote(m.ID, m.Address, c.config.Index); err != nil {
			return false, err //nolint:wrapcheck // says what it is
		}
		t.log.Info("a member has caught up and votes", "node", m.ID)
		return true, nil
	}
	return false, nil
}

// shrink removes one member that is not wanted any more and does not answer, the one
// with the highest ordinal. A leader that is not wanted hands over first.
func (t *tender) shrink(ctx context.Context, c *court) error {
	if i, ok := t.scale.Ordinal(t.node.Name()); ok && i >= c.wanted {
		return t.passOn(ctx, c)
	}
	victim, at := t.unwanted(ctx, c)
	if at < 0 {
		return nil
	}
	if victim.Voter && c.config.Voters() <= minVoters {
		return fmt.Errorf("%s is not wanted (%d replicas are) and does not answer, but fewer than %d voters are too few: %w", victim.ID, c.wanted, minVoters, errKept)
	}
	if why := c.canLose(victim); why != "" {
		return fmt.Errorf("%s is not wanted (%d replicas are), but %s: %w", victim.ID, c.wanted, why, errKept)
	}
	if n, err := t.scale.Confirmed(ctx); err != nil || at < n || n == 0 {
		return err //nolint:wrapcheck // says what it is
	}
	t.log.Warn("a member is not wanted any more and does not answer: it is removed", "node", victim.ID, "replicas", c.wanted)
	return t.remove(ctx, victim.ID, c.config.Index)
}

// unwanted is the member with the highest ordinal of those that are not wanted and did
// not answer for some looks; its ordinal is negative if there is none.
func (t *tender) unwanted(ctx context.Context, c *court) (victim node.Member, ordinal int) {
	ordinal = -1
	for _, m := range c.config.Members {
		i, ok := t.scale.Ordinal(m.Name())
		if !ok || i < c.wanted {
			continue
		}
		if id, err := t.identity(ctx, m.Address); err == nil && id.ID == m.ID {
			delete(t.silent, m.ID)
			continue
		}
		if t.silent[m.ID]++; t.silent[m.ID] >= looksBefore && i > ordinal {
			victim, ordinal = m, i
		}
	}
	return victim, ordinal
}

// errKept says that a member was not removed.
var errKept = errors.New("it stays a member")

func (t *tender) passOn(ctx context.Context, c *court) error {
	if time.Since(t.passed) < passInterval {
		return nil
	}
	t.passed = time.Now()
	t.log.Info("this leader is not wanted any more: it hands leadership over", "replicas", c.wanted)
	return t.node.PassOn(ctx, func(id string) bool { //nolint:wrapcheck // says what it is
		i, ok := t.scale.Ordinal(node.NameOf(id))
		return !ok || i < c.wanted
	})
}
