package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// errNoHeir says that there is no other voter that could lead.
var errNoHeir = errors.New("no other voter takes the leadership")

// mayLead reports whether this node may open a session, and if not, why.
func (n *Node) mayLead() (reason string, ok bool) {
	if n.leaving.Load() {
		return "shutting down", false
	}
	return n.cfg.Vault.Usable(n.View())
}

const maxPatience = 8 // heartbeat time-outs between two attempts to hand over

// awaitLeave waits until the node may lead. As long as it may not, it hands
// leadership over: at once the first time, and more and more rarely if
// leadership comes back, so that sealed nodes alone do not chase each other.
func (n *Node) awaitLeave(ctx context.Context) error {
	err := n.commit(ctx, "barrier", func() error { return n.raft.Barrier(n.cfg.CommitTimeout).Error() })
	if err != nil {
		return err
	}
	for said := ""; ; {
		reason, ok := n.mayLead()
		if ok {
			n.passed = 0
			return nil
		}
		if reason != said {
			n.log.Warn("this node may not lead and hands leadership over", "reason", reason)
			said = reason
		}
		if n.patient() {
			if err := n.handOver(ctx); err != nil {
				n.log.Warn("nobody leads: this node may not, and no other takes over", "reason", reason, "error", err)
			}
		}
		if err := pause(ctx, n.cfg.HeartbeatTimeout/2); err != nil {
			return err
		}
	}
}

// patient reports whether it is time to hand over (again).
func (n *Node) patient() bool {
	if n.passed > 0 && time.Since(n.lastPass) < n.cfg.HeartbeatTimeout*time.Duration(n.passed) {
		return false
	}
	n.passed, n.lastPass = min(n.passed+1, maxPatience), time.Now()
	return true
}

// handOver offers leadership to the other voters, one after the other,
// beginning behind this one: so nodes that may not lead pass it on until it
// reaches one that may, and not to and fro between two of them.
func (n *Node) handOver(ctx context.Context) error {
	return n.handOverTo(ctx, func(raft.Server) bool { return true })
}

func (n *Node) handOverTo(ctx context.Context, fits func(raft.Server) bool) error {
	failures := []error{errNoHeir}
	for _, heir := range n.heirs() {
		if !fits(heir) {
			continue
		}
		err := n.raft.LeadershipTransferToServer(heir.ID, heir.Address).Error()
		if err == nil || ctx.Err() != nil || n.raft.State() != raft.Leader {
			return ctx.Err() //nolint:wrapcheck // the caller asks the context
		}
		failures = append(failures, fmt.Errorf("%s: %w", heir.ID, err))
	}
	return errors.Join(failures...)
}

// PassOn hands leadership over to one of the other voters with an ID that fits, if
// this node leads. The node may lead again later.
func (n *Node) PassOn(ctx context.Context, fits func(id string) bool) error {
	if n.raft.State() != raft.Leader {
		return nil
	}
	err := n.handOverTo(ctx, func(s raft.Server) bool { return fits(string(s.ID)) })
	if err != nil {
		return fmt.Errorf("pass leadership on: %w", err)
	}
	return nil
}

// heirs are the other voters in the order of the configuration, beginning
// behind this node; those that are known to answer come first.
func (n *Node) heirs() []raft.Server {
	servers := n.servers()
	i := slices.IndexFunc(servers, func(s raft.Server) bool { return string(s.ID) == n.ID() })
	var answering, silent []raft.Server
	for _, s := range slices.Concat(servers[i+1:], servers[:max(i, 0)]) {
		if s.Suffrage != raft.Voter {
			continue
		}
		if h, ok := n.heardOf(string(s.ID)); ok && !h.silent {
			answering = append(answering, s)
		} else {
			silent = append(silent, s)
		}
	}
	return append(answering, silent...)
}

// StepDown refuses new work and hands leadership over, within the context's
// time. The node opens no session any more.
func (n *Node) StepDown(ctx context.Context) error {
	n.leaving.Store(true)
	if n.raft.State() != raft.Leader {
		return nil
	}
	done := make(chan error, 1)
	if !n.spawn(func() { done <- n.abdicate(ctx) }) {
		return nil
	}
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("hand leadership over: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("hand leadership over: %w", ctx.Err())
	}
}

// spawn runs f beside the node's other work, unless the node is closing.
func (n *Node) spawn(f func()) bool {
	n.life.Lock()
	defer n.life.Unlock()
	if n.ctx.Err() != nil {
		return false
	}
	n.running.Go(f)
	return true
}

// abdicate asks the follower that Raft thinks is the furthest first.
func (n *Node) abdicate(ctx context.Context) error {
	if len(n.heirs()) == 0 {
		return errNoHeir
	}
	if n.raft.LeadershipTransfer().Error() == nil {
		return nil
	}
	for {
		err := n.handOver(ctx)
		if err == nil || ctx.Err() != nil || n.ctx.Err() != nil {
			return err
		}
		if pause(ctx, n.cfg.LeaseTimeout) != nil {
			return err
		}
	}
}
