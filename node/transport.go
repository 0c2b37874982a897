package node

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	transportPool    = 4
	transportTimeout = 5 * time.Second
)

// transport carries Raft between members. It differs from the library's in
// three ways:
//   - It never installs the fast path for heartbeats, on which a connection's
//     goroutine could raise the term under the leader's loop: a deposed leader
//     would then write commands in a term that it never led.
//   - It says which node it means to reach, and a node answers for itself alone.
//   - It notes how far the leader had committed when this node first heard of it.
type transport struct {
	*raft.NetworkTransport
	rpcs    chan raft.RPC
	closed  chan struct{}
	once    sync.Once
	running sync.WaitGroup
	// committed is the first commit index that a leader told this node, 0 until then.
	committed atomic.Uint64
	// stuckAfter is how long a request may wait for those before it in its pipeline.
	stuckAfter time.Duration

	mu        sync.Mutex
	pipelines map[*pipeline]bool // that are open
}

var (
	_ raft.WithPreVote = (*transport)(nil)
	_ raft.WithClose   = (*transport)(nil)
)

func newTransport(k *Link, nodeID string, logger hclog.Logger, log *slog.Logger) *transport {
	return newTransportWithin(k, nodeID, transportTimeout, logger, log)
}

// newTransportWithin has a time-out of its own for requests.
func newTransportWithin(k *Link, nodeID string, timeout time.Duration, logger hclog.Logger, log *slog.Logger) *transport {
	t := &transport{
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream:  &stream{accepted: k.raft, nodeID: nodeID, log: log},
			MaxPool: transportPool, Timeout: timeout, Logger: logger,
		}),
		rpcs: make(chan raft.RPC), closed: make(chan struct{}), stuckAfter: 2 * timeout, pipelines: make(map[*pipeline]bool),
	}
	t.running.Go(t.forward)
	return t
}

// forward passes on what the other members ask, one after the other.
func (t *transport) forward() {
	for {
		select {
		case <-t.closed:
			return
		case rpc := <-t.NetworkTransport.Consumer():
			if r, ok := rpc.Command.(*raft.AppendEntriesRequest); ok && r.LeaderCommitIndex > 0 {
				t.committed.CompareAndSwap(0, r.LeaderCommitIndex)
			}
			select {
			case t.rpcs <- rpc:
			case <-t.closed: // whoever asked is told so by the library
				return
			}
		}
	}
}

// Consumer implements raft.Transport.
func (t *transport) Consumer() <-chan raft.RPC { return t.rpcs }

// SetHeartbeatHandler implements raft.Transport by not doing it.
func (t *transport) SetHeartbeatHandler(func(raft.RPC)) {}

// Close implements raft.WithClose.
func (t *transport) Close() error {
	err := t.NetworkTransport.Close()
	t.CloseStreams()
	t.once.Do(func() { close(t.closed) })
	t.running.Wait()
	if err != nil {
		return fmt.Errorf("close transport: %w", err)
	}
	return nil
}

// at makes an address of which a stream knows the node that is meant.
func at(id raft.ServerID, address raft.ServerAddress) raft.ServerAddress {
	return raft.ServerAddress(id) + "@" + address
}

// AppendEntriesPipeline implements raft.Transport.
func (t *transport) AppendEntriesPipeline(id raft.ServerID, to raft.ServerAddress) (raft.AppendPipeline, error) {
	p, err := t.NetworkTransport.AppendEntriesPipeline(id, at(id, to))
	if err != nil {
		return nil, err //nolint:wrapcheck // goes to the library
	}
	return t.watched(p), nil
}

// AppendEntries implements raft.Transport.
func (t *transport) AppendEntries(id raft.ServerID, to raft.ServerAddress, q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) error {
	return t.NetworkTransport.AppendEntries(id, at(id, to), q, a) //nolint:wrapcheck // goes to the library
}

// RequestVote implements raft.Transport.
func (t *transport) RequestVote(id raft.ServerID, to raft.ServerAddress, q *raft.RequestVoteRequest, a *raft.RequestVoteResponse) error {
	return t.NetworkTransport.RequestVote(id, at(id, to), q, a) //nolint:wrapcheck // goes to the library
}

// RequestPreVote implements raft.WithPreVote.
func (t *transport) RequestPreVote(id raft.ServerID, to raft.ServerAddress, q *raft.RequestPreVoteRequest, a *raft.RequestPreVoteResponse) error {
	return t.NetworkTransport.RequestPreVote(id, at(id, to), q, a) //nolint:wrapcheck // goes to the library
}

// InstallSnapshot implements raft.Transport.
func (t *transport) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, q *raft.InstallSnapshotRequest, a *raft.InstallSnapshotResponse, data io.Reader) error {
	return t.NetworkTransport.InstallSnapshot(id, at(id, to), q, a, data) //nolint:wrapcheck // goes to the library
}

// TimeoutNow implements raft.Transport.
func (t *transport) TimeoutNow(id raft.ServerID, to raft.ServerAddress, q *raft.TimeoutNowRequest, a *raft.TimeoutNowResponse) error {
	return t.NetworkTransport.TimeoutNow(id, at(id, to), q, a) //nolint:wrapcheck // goes to the library
}

// stream is the link as Raft sees it.
type stream struct {
	*accepted
	nodeID string
	log    *slog.Logger
}

// Accept implements net.Listener: only what is meant for this very node.
func (s *stream) Accept() (net.Conn, error) {
	for {
		c, err := s.next()
		if err != nil {
			return nil, err
		}
		if c.target == s.nodeID {
			return c, nil
		}
		s.log.Warn("a member asks here for another node", "asked", c.target, "node", s.nodeID)
		_ = c.Close()
	}
}

// Dial implements raft.StreamLayer.
func (s *stream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.link.ctx, timeout)
	defer cancel()
	target, hostPort, _ := strings.Cut(string(address), "@")
	return s.link.dial(ctx, hostPort, protocolRaft, target)
}
