package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// These are the traps of the library that this package is built around. Each test fails
// if the thing that avoids its trap is taken out; node/DESIGN.md says which that is.

// A heartbeat of another leader must not raise the term under the loop of this one: what
// it is given right afterwards would be written in a term that it never led.
func TestTrapHeartbeatRaisesTheTerm(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.done("before")
	m := c.leader()
	from := newStranger(t)
	for trial := range 4 {
		led := m.raft.CurrentTerm()
		term := led + 5
		heartbeat := &raft.AppendEntriesRequest{RPCHeader: stranger(), Term: term}
		var answer raft.AppendEntriesResponse
		require.NoError(t, from.AppendEntries(raft.ServerID(m.ID()), raft.ServerAddress(m.address), heartbeat, &answer))
		cmd := write(fmt.Sprint("late", trial))
		cmd.Version = fsm.CommandVersion
		entry, err := proto.Marshal(&fsmpb.Batch{Commands: []*fsmpb.Command{cmd}})
		require.NoError(t, err)
		before := m.raft.LastIndex()
		_ = m.raft.Apply(entry, time.Second).Error() // it does not lead any more
		var l raft.Log
		for i := before + 1; i <= m.raft.LastIndex(); i++ {
			require.NoError(t, m.store.GetLog(i, &l))
			require.NotEqual(t, term, l.Term, "trial %d: entry %d was written in a term that this node never led", trial, i)
		}
		eventually(t, "it leads again", func() bool { return m.session.Load() != nil && m.raft.State() == raft.Leader })
	}
}

func stranger() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: 3, ID: []byte("x-1"), Addr: []byte("127.0.0.1:1")}
}

// newStranger is a transport from which requests are made up.
func newStranger(t *testing.T) *transport {
	t.Helper()
	k, err := Listen(t.Context(), "127.0.0.1:0", "")
	require.NoError(t, err)
	j := &journal{}
	s := newTransport(k, "x-1", raftLogger(logTo(j), func() bool { return false }), logTo(j))
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.NoError(t, k.Close())
	})
	return s
}

// gate holds what comes in on connections while it is shut, and what goes out is lost
// while it swallows.
type gate struct {
	mu       sync.Mutex
	open     *sync.Cond
	shut     bool
	swallows bool
	held     int // reads that brought something and wait
}

func newGate() *gate {
	g := &gate{}
	g.open = sync.NewCond(&g.mu)
	return g
}

func (g *gate) set(shut, swallows bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.swallows = shut, swallows
	g.open.Broadcast()
}

func (g *gate) holds() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held
}

type gatedConn struct {
	net.Conn

	gate *gate
}

func (c *gatedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	c.gate.held++
	for c.gate.shut && n > 0 {
		c.gate.open.Wait()
	}
	c.gate.held--
	return n, err
}

func (c *gatedConn) Write(p []byte) (int, error) {
	c.gate.mu.Lock()
	swallows := c.gate.swallows
	c.gate.mu.Unlock()
	if swallows {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// gated puts a gate into a member's connections to another one.
func (m *member) gated(to *member, g *gate) {
	dial := m.link.dialer
	m.link.dialer = func(ctx context.Context, address string) (net.Conn, error) {
		c, err := dial(ctx, address)
		if err != nil || address != to.address {
			return c, err
		}
		return &gatedConn{Conn: c, gate: g}, nil
	}
	// Connections from before go without.
	m.wires.set(m.address, to.address, true)
	m.wires.set(m.address, to.address, false)
}

// slow members give a leader up so late that no trial comes to it: who leads is crowned.
func slow(m *member) {
	m.cfg.HeartbeatTimeout, m.cfg.ElectionTimeout, m.cfg.LeaseTimeout = 10*time.Second, 10*time.Second, 5*time.Second
}

// crown has a member elected at once, as in a hand-over.
func (c *testCluster) crown(from *transport, m *member) {
	c.t.Helper()
	eventually(c.t, "it is elected", func() bool {
		_ = from.TimeoutNow(raft.ServerID(m.ID()), raft.ServerAddress(m.address), &raft.TimeoutNowRequest{RPCHeader: stranger()}, &raft.TimeoutNowResponse{})
		for range 100 {
			if m.raft.State() == raft.Leader && m.session.Load() != nil {
				return true
			}
			if pause(c.t.Context(), 5*time.Millisecond) != nil {
				return false
			}
		}
		return false
	})
}

// A leader that was replaced, and does not know it yet, answers no linearizable read:
// word from its followers that is on its way since before proves nothing. (VerifyLeader
// counts it, and read stale in ten of ten trials.)
func TestTrapStaleReadDuringATransfer(t *testing.T) {
	t.Parallel()
	for trial := range 10 {
		t.Run(strconv.Itoa(trial), func(t *testing.T) {
			t.Parallel()
			staleReadTrial(t)
		})
	}
}

func staleReadTrial(t *testing.T) {
	t.Helper()
	c := newCluster(t, 3, slow)
	from := newStranger(t)
	old, heir, third := c.members[0], c.members[1], c.members[2]
	c.crown(from, old)
	c.done("before")
	gates := map[*member]*gate{heir: newGate(), third: newGate()}
	for m, g := range gates {
		old.gated(m, g)
		defer g.set(false, false)
	}
	c.done("all are connected again")
	for m, g := range gates {
		g.set(true, false)
		// Of log entries and, on a connection of its own, of a heartbeat.
		eventually(t, "word of "+m.cfg.Name+" is on its way", func() bool { return g.holds() > 1 })
	}
	for _, m := range c.others(old) { // the old leader hears of no other
		c.wires.set(m.address, old.address, true)
	}
	c.crown(from, heir)
	_, err := heir.Propose(t.Context(), write("acknowledged"))
	require.NoError(t, err)
	require.Equal(t, raft.Leader, old.raft.State(), "it does not know it yet")

	before, answer, asked := old.raft.LastIndex(), make(chan error, 1), time.Now()
	go func() { answer <- old.Barrier(t.Context()) }()
	// A barrier shows in its log that it was asked for; anything else does not, and is
	// given some time.
	eventually(t, "it was asked", func() bool { return old.raft.LastIndex() > before || time.Since(asked) > 100*time.Millisecond })
	for _, g := range gates {
		g.set(false, false)
	}
	if err := <-answer; err == nil {
		require.NotNil(t, old.View().Member("acknowledged"), "a linearizable read was stale")
	} else {
		require.ErrorIs(t, err, ErrNotLeader)
	}
}

// A disk that was wiped comes back under another ID, and what the others say to the ID
// that is gone it does not take for itself: see also TestWipedNodeHasNoVote.
func TestTrapWipedDiskUnderTheSameName(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.done("before")
	leader := c.leader()
	wiped := c.others(leader)[0]
	old := wiped.ID()
	wiped.down()
	wiped.cfg.DataDir = t.TempDir()
	wiped.up()
	require.NotEqual(t, old, wiped.ID())
	require.Equal(t, wiped.cfg.Name, NameOf(old))
	from := newStranger(t)
	vote := &raft.RequestVoteRequest{
		RPCHeader: stranger(), Term: 99, LastLogIndex: 1 << 40, LastLogTerm: 98,
	}
	var answer raft.RequestVoteResponse
	require.Error(t, from.RequestVote(raft.ServerID(old), raft.ServerAddress(wiped.address), vote, &answer), "it answered for who it was")
	require.False(t, answer.Granted)
	require.False(t, wiped.HasState())
	c.done("the others go on")
}

// A hand-over that hangs leaves a leader that refuses everything, also after it lost
// leadership and won it again. It gives up by itself, and says why.
func TestTrapTransferThatHangs(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, calm, func(m *member) { m.cfg.CommitTimeout, m.cfg.rpcTimeout = time.Second, time.Minute })
	old := c.leader()
	heir, third := c.others(old)[0], c.others(old)[1]
	g := newGate()
	old.gated(heir, g)
	defer g.set(false, false)
	c.done("all are connected again")
	c.agree()
	g.set(false, true) // the heir hears nothing
	c.wires.set(heir.address, third.address, true)
	c.wires.set(heir.address, old.address, true)
	hangs := make(chan error, 1)
	go func() {
		hangs <- old.raft.LeadershipTransferToServer(raft.ServerID(heir.ID()), raft.ServerAddress(heir.address)).Error()
	}()
	eventually(t, "it refuses", func() bool { // a change that would be refused anyhow, so nothing is logged
		return errors.Is(old.raft.AddNonvoter("x-1", "127.0.0.1:1", 1<<40, time.Second).Error(), raft.ErrLeadershipTransferInProgress)
	})
	// It loses leadership, and wins it again.
	c.wires.set(old.address, third.address, true)
	c.wires.set(third.address, old.address, true)
	eventually(t, "it has lost", func() bool { return old.raft.State() != raft.Leader })
	c.wires.set(old.address, third.address, false)
	c.wires.set(third.address, old.address, false)
	eventually(t, "it has won, and gives up", func() bool {
		if third.raft.State() == raft.Leader {
			_ = third.raft.LeadershipTransferToServer(raft.ServerID(old.ID()), raft.ServerAddress(old.address)).Error()
		}
		select {
		case err := <-old.Failed():
			require.ErrorIs(t, err, raft.ErrLeadershipTransferInProgress)
			return true
		default:
			return false
		}
	})
	require.Nil(t, old.session.Load(), "it leads nobody")
	_ = <-hangs //nolint:staticcheck // of an error, which would have to be looked at
}
