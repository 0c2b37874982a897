package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// lead follows the leadership of this node and keeps a session while it leads.
// Every word on the channel ends the session before: true after true means that
// leadership was lost and won again in between.
func (n *Node) lead(ctx context.Context) {
	end := func() {}
	defer func() { end() }()
	for {
		select {
		case <-ctx.Done():
			return
		case leading := <-n.raft.LeaderCh():
			end()
			end = func() {}
			if leading {
				end = n.start(ctx)
			}
		}
	}
}

// start runs a leadership until the returned function is called, which waits
// for all of it to stop.
func (n *Node) start(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	n.running.Go(func() {
		defer close(done)
		if err := n.reign(ctx); err != nil && ctx.Err() == nil {
			n.log.Error("this leader can not lead", "error", err)
			n.fail(err)
		}
	})
	return func() {
		cancel()
		<-done
	}
}

// reign waits until the node may lead, opens the session, and runs it.
func (n *Node) reign(ctx context.Context) error {
	if err := n.awaitVault(ctx); err != nil {
		return err
	}
	term, err := n.beginSession(ctx)
	if err != nil {
		return err
	}
	s := newSession(n, term)
	n.log.Info("leading", "session", term, "node", n.ID())
	s.run(ctx)
	n.log.Info("no longer leading", "session", term, "node", n.ID())
	return nil
}

// awaitVault keeps a sealed node from opening a session; it hands leadership
// over as often as it gets it.
func (n *Node) awaitVault(ctx context.Context) error {
	if err := n.commit(ctx, "barrier", func() error { return n.raft.Barrier(n.cfg.CommitTimeout).Error() }); err != nil {
		return err
	}
	for {
		reason, ok := n.cfg.Vault.Usable(n.View())
		if ok {
			return nil
		}
		n.log.Warn("this node is sealed and hands leadership over", "reason", reason)
		if err := n.raft.LeadershipTransfer().Error(); err != nil {
			n.log.Warn("no unsealed node takes the leadership", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err() //nolint:wrapcheck // the caller asks the context
		case <-time.After(n.cfg.ElectionTimeout):
		}
	}
}

// beginSession logs the session's beginning; its number is the entry's term.
func (n *Node) beginSession(ctx context.Context) (uint64, error) {
	clusterID := make([]byte, 16)
	_, _ = rand.Read(clusterID) // never fails
	entry, err := proto.Marshal(&fsmpb.Batch{Commands: []*fsmpb.Command{{
		Version: fsm.CommandVersion, WallMs: time.Now().UnixMilli(),
		Body: &fsmpb.Command_BeginSession{BeginSession: &fsmpb.BeginSession{
			NodeId: n.ID(), NewClusterId: hex.EncodeToString(clusterID),
		}},
	}}})
	if err != nil {
		return 0, fmt.Errorf("encode session: %w", err)
	}
	var term uint64
	err = n.commit(ctx, "session", func() error {
		f := n.raft.Apply(entry, n.cfg.CommitTimeout)
		if err := f.Error(); err != nil {
			return err //nolint:wrapcheck // commit wraps it
		}
		results, ok := f.Response().([]fsm.Result)
		if !ok || len(results) != 1 {
			return fmt.Errorf("answer of type %T", f.Response())
		}
		term, _ = results[0].Value.(uint64)
		return nil
	})
	return term, err
}

// commit runs one Raft operation of a new leader. A leader that still leads but
// can not commit for CommitTimeout is stuck for good and must be restarted; one
// that lost its leadership is told so by the context.
func (n *Node) commit(ctx context.Context, what string, op func() error) error {
	deadline := time.Now().Add(n.cfg.CommitTimeout)
	for {
		err := op()
		if err == nil {
			return nil
		}
		if errors.Is(err, raft.ErrRaftShutdown) || time.Now().After(deadline) {
			return fmt.Errorf("commit %s: %w", what, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err() //nolint:wrapcheck // the caller asks the context
		case <-time.After(n.cfg.LeaseTimeout / 4):
		}
	}
}
