package cluster

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/keysteward/keysteward/node"
)

// successorWait is how long the next leader may take to open its session.
const successorWait = 5 * time.Second

// Transfer has this leader hand over to a voter, by its ID, or to any that can lead if
// that is empty, and returns who leads then; empty if nobody is known to yet. A leader
// that is named itself changes nothing. Otherwise it is like [Cluster.Join].
func (c *Cluster) Transfer(ctx context.Context, by node.Asker, to string) (leader string, err error) {
	court, err := c.peers.court(ctx)
	if err != nil {
		return "", err
	}
	if to == c.peers.node.ID() {
		return to, nil
	}
	c.peers.log.Info("this node hands leadership over by an operator's word", "to", to, "caller", by.Caller.GetName())
	return c.pass(ctx, by, court, to)
}

// pass hands over to a member, or to any if none is named.
func (c *Cluster) pass(ctx context.Context, by node.Asker, court *court, to string) (leader string, err error) {
	fit, reasons := map[string]bool{}, []string{}
	for _, m := range court.config.Members {
		if m.ID == c.peers.node.ID() || to != "" && m.ID != to {
			continue
		}
		id, err := c.peers.identity(ctx, m.Address)
		if why := canNotLead(m, id, err); why != "" {
			reasons = append(reasons, m.ID+" "+why)
			continue
		}
		fit[m.ID] = true
	}
	if _, member := court.config.Find(to); to != "" && !member {
		return "", node.Kept(node.KeptUnknown, "%s is no member of the cluster", to)
	}
	if len(fit) == 0 {
		return "", node.Kept(node.KeptLeader, "nobody else can lead: %s", orNone(reasons))
	}
	act := act{"leadership.transfer", c.peers.node.ID(), "to " + cmp.Or(to, "any that can lead")}
	if err := c.record(ctx, by, act); err != nil {
		return "", err
	}
	before := c.peers.node.Status().Term
	if err := c.peers.node.PassOn(ctx, func(id string) bool { return fit[id] }); err != nil {
		c.failed(ctx, by, act, err)
		return "", node.Kept(node.KeptLeader, "this node goes on leading: %v", err)
	}
	return c.successor(ctx, before)
}

func orNone(reasons []string) string {
	if len(reasons) == 0 {
		return "there is no other voter"
	}
	return strings.Join(reasons, "; ")
}

// successor waits for the session of the leader after the one of a term.
func (c *Cluster) successor(ctx context.Context, before uint64) (leader string, err error) {
	ctx, cancel := context.WithTimeout(ctx, successorWait)
	defer cancel()
	for {
		switch s := c.peers.node.Status(); {
		case s.Term > before && s.ElectedID == s.NodeID:
			return "", node.Kept(node.KeptLeader, "leadership came back to %s", s.NodeID)
		case s.LeaderID != "" && s.LeaderID != s.NodeID:
			return s.LeaderID, nil
		}
		if pause(ctx, tendInterval/5) != nil {
			return "", nil
		}
	}
}
