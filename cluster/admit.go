package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/failpoint"
)

// Points at which tests stop a leader that lets somebody in.
const (
	PointBeforeRemoval   failpoint.Name = "join-before-removal"
	PointAfterRemoval    failpoint.Name = "join-after-removal"
	PointBeforePromotion failpoint.Name = "join-before-promotion"
)

// admit judges a request and does what follows from it. Each step is one change of
// the configuration and names the one that it was decided on, so of two at a time one
// is refused. Whoever asked asks again, so what a leader leaves undone is done by the
// next one.
func (p *peers) admit(ctx context.Context, q joinRequest) joinAnswer {
	if a, decided := p.notLeading(q); decided {
		return a
	}
	for range 2 { // removing, adding
		c, err := p.court(ctx)
		if err != nil {
			return joinAnswer{Verdict: verdictWait, Detail: err.Error()}
		}
		a, what := c.judge(q)
		if what == (deed{}) {
			return a
		}
		if why := p.isThere(ctx, q); why != "" {
			return joinAnswer{Verdict: verdictWait, ClusterID: c.clusterID, Detail: why}
		}
		if what.remove == "" {
			return p.add(q, c)
		}
		failpoint.Reach(PointBeforeRemoval)
		p.log.Warn("a member lost its disk: it is removed and comes back under a new ID", "old", what.remove, "new", q.ID)
		if err := p.remove(ctx, what.remove, c.config.Index); err != nil {
			return joinAnswer{Verdict: verdictWait, ClusterID: c.clusterID, Detail: err.Error()}
		}
		failpoint.Reach(PointAfterRemoval)
	}
	return joinAnswer{Verdict: verdictWait, Detail: "the members changed meanwhile"}
}

func (p *peers) add(q joinRequest, c *court) joinAnswer {
	if err := p.node.AddLearner(q.ID, q.Raft, c.config.Index); err != nil {
		return joinAnswer{Verdict: verdictWait, ClusterID: c.clusterID, Detail: err.Error()}
	}
	p.log.Info("a node was let in; it votes once it has caught up", "node", q.ID, "address", q.Raft)
	return joinAnswer{Verdict: verdictAdded, ClusterID: c.clusterID}
}

// remove takes a member out of the configuration and then off the records.
func (p *peers) remove(ctx context.Context, id string, index uint64) error {
	if err := p.node.Remove(id, index); err != nil {
		return err //nolint:wrapcheck // says what it is
	}
	return p.strike(ctx, id)
}

// strike takes a member off the records: where its API was and what it paid for.
func (p *peers) strike(ctx context.Context, id string) error {
	_, err := p.node.Propose(ctx, &fsmpb.Command{
		Caller: &fsmpb.Caller{Name: "members", Role: "duty"},
		Body:   &fsmpb.Command_RemoveMember{RemoveMember: &fsmpb.RemoveMember{NodeId: id}},
	})
	if err != nil {
		return fmt.Errorf("take %s off the records: %w", id, err)
	}
	return nil
}

// notLeading answers for a node that can not decide.
func (p *peers) notLeading(q joinRequest) (a joinAnswer, decided bool) {
	status := p.node.Status()
	if status.IsLeader {
		return a, false
	}
	a.ClusterID = p.node.ClusterID()
	switch {
	case !p.node.HasState():
		a.Verdict, a.Detail = verdictEmpty, p.node.ID()+" is empty too"
	case q.ClusterID != "" && a.ClusterID != "" && q.ClusterID != a.ClusterID && q.ClusterID != p.node.View().Meta().GetRestore().GetReplacedCluster():
		a.Verdict = verdictOther
		a.Detail = fmt.Sprintf("%s is of cluster %s, and %s of cluster %s: two clusters under one name", q.ID, q.ClusterID, p.node.ID(), a.ClusterID)
	default:
		a.Verdict = verdictNoLeader
		for _, peer := range status.Peers {
			if peer.ID == status.LeaderID {
				a.Leader = peer.Raft
			}
		}
		if a.Detail = p.report.get(); a.Detail == "" && a.Leader == "" {
			a.Detail = p.node.ID() + " knows no leader"
		}
	}
	return a, true
}

// court gathers what this leader knows.
func (p *peers) court(ctx context.Context) (*court, error) {
	status := p.node.Status()
	c := &court{
		before: p.node.View().Meta().GetRestore().GetReplacedCluster(), clusterID: p.node.View().Meta().GetClusterId(), level: p.node.View().Meta().GetFeatureLevel(), founders: p.founders, pattern: p.pattern,
		wanted: -1, alive: map[string]bool{p.node.ID(): true},
	}
	if c.clusterID == "" || !status.IsLeader {
		return nil, node.ErrNotLeader
	}
	for _, peer := range status.Peers {
		if peer.Lag >= 0 && !peer.Silent { // it was asked, and answered
			c.alive[peer.ID] = true
		}
	}
	if p.scale != nil {
		c.ordinal = p.scale.Ordinal
		if n, err := p.scale.Wanted(ctx); err == nil {
			c.wanted = n
		}
	}
	var err error
	if c.config, err = p.node.Configuration(); err != nil {
		return nil, fmt.Errorf("let in: %w", err)
	}
	return c, nil
}

// errElsewhere says that somebody else answers at a node's address.
var errElsewhere = errors.New("another node answers there")

// isThere asks at the address whether the node that asks is the one that answers. As
// long as its old self does, or nobody, nothing is changed.
func (p *peers) isThere(ctx context.Context, q joinRequest) (why string) {
	id, err := p.identity(ctx, q.Raft)
	switch {
	case err != nil:
		return fmt.Sprintf("%s at %s %s when the leader asks there", q.ID, q.Raft, silence(err))
	case id.ID != q.ID:
		return fmt.Sprintf("%s asks, but %s answers at %s: %v", q.ID, id.ID, q.Raft, errElsewhere)
	}
	return ""
}
