package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/failpoint"
)

// follow keeps a session while the node leads. Every word on the channel ends
// the session before: true after true means that leadership was lost and won
// again in between. start returns what ends the session and waits for that.
func follow(ctx context.Context, leading <-chan bool, start func(context.Context) (end func())) {
	end := func() {}
	defer func() { end() }()
	for {
		select {
		case <-ctx.Done():
			return
		case leads := <-leading:
			end()
			end = func() {}
			if leads {
				end = start(ctx)
			}
		}
	}
}

// errStuck says that a duty does not end although its session is over.
var errStuck = errors.New("duty does not stop")

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
		select {
		case <-done:
			return
		case <-time.After(n.cfg.CommitTimeout):
			// Until it stops this node can not lead again, and may hold leadership.
			n.fail(fmt.Errorf("%w: %s", errStuck, n.busy()))
		}
		<-done
	}
}

// reign waits until the node may lead, opens the session, and runs it.
func (n *Node) reign(ctx context.Context) error {
	if err := n.awaitLeave(ctx); err != nil {
		return err
	}
	n.indexes.Clear() // of an earlier leadership
	for ctx.Err() == nil {
		term, err := n.beginSession(ctx)
		if err != nil {
			return err
		}
		n.log.Info("leading", "session", term, "node", n.ID())
		n.serve(ctx, term)
		if ctx.Err() == nil {
			n.log.Warn("a backup was restored: this leader begins anew with what is in it", "restore", n.View().Meta().GetRestore().GetNumber())
		}
		n.log.Info("no longer leading", "session", term, "node", n.ID())
	}
	return nil
}

// serve runs a session until the leadership ends, or until a restored backup takes
// the place of the state: what was decided by the state before is worth nothing then.
// It returns when nothing of the session is left, so whatever was proposed in it stands
// in the log before what comes next.
func (n *Node) serve(ctx context.Context, term uint64) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	replaced := n.View().WatchReplaced()
	var watcher sync.WaitGroup
	defer watcher.Wait()
	ended := make(chan struct{})
	defer close(ended)
	watcher.Go(func() {
		if !replaced.Wait(ctx.Done()) {
			return
		}
		cancel()
		select {
		case <-ended:
		case <-time.After(n.cfg.CommitTimeout):
			n.fail(fmt.Errorf("%w: %s", errStuck, n.busy()))
		}
	})
	newSession(n, term).run(ctx)
}

// beginSession logs the session's beginning; its number is the entry's term.
func (n *Node) beginSession(ctx context.Context) (uint64, error) {
	clusterID := make([]byte, 16)
	_, _ = rand.Read(clusterID) // never fails
	entry, err := proto.Marshal(&fsmpb.Batch{Commands: []*fsmpb.Command{{
		Version: fsm.CommandVersion, WallMs: failpoint.Now().UnixMilli(),
		Body: &fsmpb.Command_BeginSession{BeginSession: &fsmpb.BeginSession{
			NodeId: n.ID(), NewClusterId: hex.EncodeToString(clusterID),
		}},
	}}})
	if err != nil {
		return 0, fmt.Errorf("encode session: %w", err)
	}
	var term uint64
	err = n.commit(ctx, "session", func() error {
		results, err := applied(n.raft.Apply(entry, n.cfg.CommitTimeout), 1)
		if err != nil {
			return err
		}
		var ok bool
		if term, ok = results[0].Value.(uint64); !ok || term == 0 {
			return fmt.Errorf("no session number but %T: %w", results[0].Value, errors.Join(results[0].Err()))
		}
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
		if ctx.Err() != nil {
			return ctx.Err() //nolint:wrapcheck // the caller asks the context
		}
		if errors.Is(err, raft.ErrRaftShutdown) || time.Now().After(deadline) && stuck(err) {
			return fmt.Errorf("commit %s: %w", what, err)
		}
		if err := pause(ctx, n.cfg.LeaseTimeout/4); err != nil {
			return err
		}
	}
}

// stuck reports whether a failure may be that of a leader which leads and can
// not commit. Losing leadership is none: a leader without a quorum steps down
// by its lease, and whoever was paused learns of it by such an error first.
func stuck(err error) bool {
	return !errors.Is(err, raft.ErrNotLeader) && !errors.Is(err, raft.ErrLeadershipLost) &&
		!errors.Is(err, fsm.Refused(fsm.StaleSession))
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // the caller asks the context
	case <-t.C:
		return nil
	}
}
