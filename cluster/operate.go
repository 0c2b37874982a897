package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
)

const (
	// operateTries is how often a change is judged anew when another one came first.
	operateTries = 3
	// ownWordWait is how long a node that asks by itself is waited for.
	ownWordWait = 5 * time.Second
)

// Join lets the node that answers at an address (host:port) in: one that has no data,
// and was started with --peers of this cluster, whatever its name. It votes once it has
// caught up, by itself. A node that is a member already changes nothing. What hinders is
// a [node.MembersKept]; [node.ErrNotLeader] and [node.ErrUnknownOutcome] are as for
// [node.Node.Propose].
func (c *Cluster) Join(ctx context.Context, by node.Asker, address string) (joined node.Member, err error) {
	if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
		return joined, node.Kept(node.KeptOut, "%.100q is no HOST:PORT", address)
	}
	err = c.again(ctx, func(court *court) error {
		q, err := c.whoIs(ctx, address)
		if err != nil {
			return err
		}
		var member bool
		if joined, member = court.config.Find(q.ID); member && joined.Address == address {
			return nil
		}
		if court.mayBeMember(q) {
			joined, err = c.ownWord(ctx, q)
			return err
		}
		joined = node.Member{ID: q.ID, Address: q.Raft}
		return c.letIn(ctx, by, court, q)
	})
	return joined, err
}

// whoIs asks who is at the address.
func (c *Cluster) whoIs(ctx context.Context, address string) (joinRequest, error) {
	id, err := c.peers.identity(ctx, address)
	if err != nil {
		return joinRequest{}, node.Kept(node.KeptOut, "the node at %s %s when the leader asks there: start it, with --peers of this cluster and --invited", address, silence(err))
	}
	q := joinRequest{ID: id.ID, Name: id.Name, Raft: address, ClusterID: id.ClusterID, HasState: id.HasState, Joining: id.Joining, FeatureLevel: id.FeatureLevel}
	if err := q.check(); err != nil {
		return q, node.Kept(node.KeptOut, "what answers at %s is no node: %v", address, err)
	}
	return q, nil
}

// ownWord waits for a node to be a member that needs nobody's word for that.
func (c *Cluster) ownWord(ctx context.Context, q joinRequest) (node.Member, error) {
	ctx, cancel := context.WithTimeout(ctx, ownWordWait)
	defer cancel()
	for {
		config, err := c.peers.node.Configuration()
		if err != nil {
			return node.Member{}, err //nolint:wrapcheck // says what it is
		}
		if m, member := config.Find(q.ID); member {
			return m, nil
		}
		if pause(ctx, tendInterval) != nil {
			return node.Member{}, node.Kept(node.KeptOut, "%s is of the founders' kind and asks by itself, but it is no member yet: /readyz there says what it waits for", q.ID)
		}
	}
}

// letIn invites a node and adds it.
func (c *Cluster) letIn(ctx context.Context, by node.Asker, court *court, q joinRequest) error {
	if q.ClusterID == "" && !q.HasState {
		q.ClusterID, q.Joining = court.clusterID, true
	}
	court.invited = true
	a, what := court.judge(q)
	if what == (deed{}) {
		return node.Kept(node.KeptOut, "%s", a.Detail)
	}
	if what.remove != "" {
		return node.Kept(node.KeptOut, "%s is a member at this address: it lost its disk, and comes back by itself", what.remove)
	}
	if err := c.peers.invite(ctx, q.Raft, court.clusterID); err != nil {
		return node.Kept(node.KeptOut, "%s does not come: it %s", q.ID, silence(err))
	}
	if err := c.onRecord(ctx, by, node.Member{ID: q.ID, Address: q.Raft}); err != nil {
		return err
	}
	if err := c.peers.node.AddLearner(q.ID, q.Raft, court.config.Index); err != nil {
		return err //nolint:wrapcheck // says what it is
	}
	c.peers.log.Info("a node was let in by an operator; it votes once it has caught up", "node", q.ID, "address", q.Raft, "caller", by.Caller.GetName())
	return nil
}

// Remove takes a member out. Refused is what would leave no majority of those who
// answer, whatever is forced; and, without force, what makes the cluster bear fewer
// losses than now. A leader that is to be removed hands over first and returns
// [node.ErrNotLeader]. Otherwise it is like [Cluster.Join].
func (c *Cluster) Remove(ctx context.Context, by node.Asker, id string, force bool) error {
	return c.again(ctx, func(court *court) error {
		m, member := court.config.Find(id)
		if !member {
			return node.Kept(node.KeptUnknown, "%s is no member of the cluster", id)
		}
		if err := court.mayRemove(m, force); err != nil {
			return err
		}
		if id == c.peers.node.ID() {
			if _, err := c.pass(ctx, by, court, ""); err != nil {
				return err
			}
			return fmt.Errorf("remove %s: it has handed over: %w", id, node.ErrNotLeader)
		}
		if err := c.onRecord(ctx, by, m); err != nil {
			return err
		}
		if err := c.offRecord(ctx, by, id); err != nil {
			return err
		}
		if err := c.peers.node.Remove(id, court.config.Index); err != nil {
			return err //nolint:wrapcheck // says what it is
		}
		c.peers.log.Warn("a member was removed by an operator", "node", id, "caller", by.Caller.GetName(), "force", force)
		return nil
	})
}

// mayRemove says why a member is not removed by an operator's word.
func (c *court) mayRemove(m node.Member, force bool) error {
	if !m.Voter {
		return nil
	}
	voters, silent := c.config.Voters(), 0
	for _, v := range c.config.Members {
		if v.Voter && !c.alive[v.ID] {
			silent++
		}
	}
	if voters == 1 {
		return node.Kept(node.KeptQuorum, "%s is the only voter: without it there is no cluster", m.ID)
	}
	if why := c.canLose(m); why != "" {
		return node.Kept(node.KeptQuorum, "without %s there would be no majority: %s; bring those back, or remove them first", m.ID, why)
	}
	after := node.Tolerance(voters-1, silent)
	if !c.alive[m.ID] {
		after = node.Tolerance(voters-1, silent-1)
	}
	if now := node.Tolerance(voters, silent); after < now && !force {
		return node.Kept(node.KeptTolerance, "%s answers, and without it the cluster bears the loss of %d voters instead of %d; let another one in first, or force it (--force, ?force=true)", m.ID, after, now)
	}
	return nil
}

// Promote lets a member vote now that has caught up, which it would do by itself a moment
// later. Otherwise it is like [Cluster.Join].
func (c *Cluster) Promote(ctx context.Context, by node.Asker, id string) error {
	return c.again(ctx, func(court *court) error {
		m, member := court.config.Find(id)
		switch {
		case !member:
			return node.Kept(node.KeptUnknown, "%s is no member of the cluster", id)
		case m.Voter:
			return nil
		}
		who, err := c.peers.identity(ctx, m.Address)
		if why := court.mayNotVote(m, who, err, c.peers.node.Status().CommitIndex); why != "" {
			return node.Kept(node.KeptBehind, "%s %s; it votes by itself once it has caught up", id, why)
		}
		act := act{"member.promote", id, "it votes at " + m.Address}
		if err := c.record(ctx, by, act); err != nil {
			return err
		}
		if err := c.peers.node.Promote(id, m.Address, court.config.Index); err != nil {
			c.failed(ctx, by, act, err)
			return err //nolint:wrapcheck // says what it is
		}
		c.peers.log.Info("a member votes by an operator's word", "node", id, "caller", by.Caller.GetName())
		return nil
	})
}

// again judges a change anew while another one comes first.
func (c *Cluster) again(ctx context.Context, change func(*court) error) error {
	var err error
	for range operateTries {
		court, failed := c.peers.court(ctx)
		if failed != nil {
			return failed
		}
		c.ask(ctx, court)
		err = change(court)
		if _, kept := errors.AsType[*node.MembersKept](err); err == nil || kept ||
			errors.Is(err, node.ErrNotLeader) || errors.Is(err, node.ErrUnknownOutcome) || ctx.Err() != nil {
			return err
		}
	}
	return node.Kept(node.KeptBusy, "%v", err)
}

// ask finds out who answers now: a leader that has only begun may not have asked yet.
func (c *Cluster) ask(ctx context.Context, court *court) {
	ctx, cancel := context.WithTimeout(ctx, lagInterval)
	defer cancel()
	var mu sync.Mutex
	var asked sync.WaitGroup
	alive := map[string]bool{c.peers.node.ID(): true}
	for _, m := range court.config.Members {
		asked.Go(func() {
			if id, err := c.peers.identity(ctx, m.Address); err == nil && id.ID == m.ID {
				mu.Lock()
				defer mu.Unlock()
				alive[m.ID] = true
			}
		})
	}
	asked.Wait()
	court.alive = alive
}

// onRecord puts a member on the records in the operator's name, if it is on none: so the
// operator's word is in the audit before anything is changed.
func (c *Cluster) onRecord(ctx context.Context, by node.Asker, m node.Member) error {
	if c.peers.node.View().Member(m.ID) != nil {
		return nil
	}
	return c.propose(ctx, by, &fsmpb.Command{Body: &fsmpb.Command_SetMember{SetMember: &fsmpb.SetMember{
		Member: &fsmpb.Member{NodeId: m.ID, Name: m.Name(), RaftAddress: m.Address},
	}}})
}

func (c *Cluster) offRecord(ctx context.Context, by node.Asker, id string) error {
	return c.propose(ctx, by, &fsmpb.Command{Body: &fsmpb.Command_RemoveMember{RemoveMember: &fsmpb.RemoveMember{NodeId: id}}})
}

func (c *Cluster) propose(ctx context.Context, by node.Asker, cmd *fsmpb.Command) error {
	cmd.Caller, cmd.RequestId = by.Caller, by.RequestID
	_, err := c.peers.node.Propose(ctx, cmd)
	return err //nolint:wrapcheck // says what it is
}
