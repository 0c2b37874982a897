package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second // on a machine that is busy with other things too

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, patience, 5*time.Millisecond, what)
}

// fakeVault is usable unless it was given a reason.
type fakeVault struct{ reason atomic.Pointer[string] }

func (v *fakeVault) seal(reason string) { v.reason.Store(&reason) }
func (v *fakeVault) unseal()            { v.reason.Store(nil) }

func (v *fakeVault) Usable(*fsm.View) (string, bool) {
	if r := v.reason.Load(); r != nil {
		return *r, false
	}
	return "", true
}

// journal keeps what was logged.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) has(text string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return bytes.Contains(j.buf.Bytes(), []byte(text))
}

// wires are the connections between links; each direction can be cut.
type wires struct {
	mu    sync.Mutex
	cut   map[[2]string]bool
	conns map[[2]string][]net.Conn
}

var errCut = errors.New("wire is cut")

func (w *wires) dialer(from string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, to string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", to)
		if err != nil {
			return nil, err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		way := [2]string{from, to}
		if w.cut[way] {
			_ = c.Close()
			return nil, errCut
		}
		w.conns[way] = append(w.conns[way], c)
		return c, nil
	}
}

// set cuts or mends the direction.
func (w *wires) set(from, to string, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	way := [2]string{from, to}
	w.cut[way] = cut
	if cut {
		for _, c := range w.conns[way] {
			_ = c.Close()
		}
		delete(w.conns, way)
	}
}

// member is one place in a test's cluster; its node may come and go.
type member struct {
	*Node
	t       *testing.T
	wires   *wires
	cfg     Config
	address string
	vault   *fakeVault
	journal *journal
	duties  []Duty
	// security is of the members' port, nil without TLS.
	security *Security
}

func newMember(t *testing.T, w *wires, name string) *member {
	t.Helper()
	m := &member{t: t, wires: w, vault: &fakeVault{}, journal: &journal{}, address: "127.0.0.1:0"}
	m.cfg = Config{
		Name: name, DataDir: t.TempDir(), APIAdvertise: "http://" + name + ".test",
		HeartbeatTimeout: 150 * time.Millisecond, ElectionTimeout: 150 * time.Millisecond, LeaseTimeout: 75 * time.Millisecond,
		TickInterval: time.Hour, CommitTimeout: 10 * time.Second,
		Vault: m.vault, Logger: slog.New(slog.NewTextHandler(m.journal, nil)),
	}
	t.Cleanup(func() {
		if m.Node != nil {
			_ = m.Close()
		}
		if t.Failed() {
			t.Logf("%s:\n%s", name, m.journal.buf.String())
		}
	})
	return m
}

func (m *member) listen() *Link {
	m.t.Helper()
	var k *Link
	eventually(m.t, "listen on "+m.address, func() bool {
		var err error
		if m.security != nil {
			k, err = ListenTLS(m.t.Context(), m.address, "", *m.security)
		} else {
			k, err = Listen(m.t.Context(), m.address, "")
		}
		return err == nil
	})
	m.address = k.Advertised()
	k.dialer = m.wires.dialer(m.address)
	return k
}

func (m *member) open() {
	m.t.Helper()
	n, err := Open(m.cfg, m.listen())
	require.NoError(m.t, err)
	m.Node = n
}

func (m *member) up() {
	m.t.Helper()
	m.open()
	m.Start(m.duties...)
}

// down stops the node as a crash would: without handing over.
func (m *member) down() {
	m.t.Helper()
	require.NoError(m.t, m.Close())
	m.Node = nil
}

type testCluster struct {
	t       *testing.T
	members []*member
	wires   *wires
}

func newCluster(t *testing.T, size int, options ...func(*member)) *testCluster {
	t.Helper()
	c := &testCluster{t: t, wires: &wires{cut: map[[2]string]bool{}, conns: map[[2]string][]net.Conn{}}}
	var servers []raft.Server
	for i := range size {
		m := newMember(t, c.wires, fmt.Sprintf("n%d", i+1))
		for _, o := range options {
			o(m)
		}
		m.up()
		c.members = append(c.members, m)
		servers = append(servers, raft.Server{ID: raft.ServerID(m.ID()), Address: raft.ServerAddress(m.address)})
	}
	require.NoError(t, c.members[0].Bootstrap(servers))
	return c
}

// leader waits for the one that has a session, among those that are up.
func (c *testCluster) leader(but ...*member) *member {
	c.t.Helper()
	var leader *member
	eventually(c.t, "no leader", func() bool {
		for _, m := range c.others(but...) {
			if m.session.Load() != nil && m.raft.State() == raft.Leader {
				leader = m
				return true
			}
		}
		return false
	})
	return leader
}

func (c *testCluster) others(but ...*member) []*member {
	var list []*member
members:
	for _, m := range c.members {
		for _, b := range but {
			if m == b {
				continue members
			}
		}
		if m.Node != nil {
			list = append(list, m)
		}
	}
	return list
}

// isolate cuts (or mends) every wire of a member.
func (c *testCluster) isolate(m *member, cut bool) {
	for _, o := range c.members {
		if o != m {
			c.wires.set(m.address, o.address, cut)
			c.wires.set(o.address, m.address, cut)
		}
	}
}

// agree waits until all that are up have the same state.
func (c *testCluster) agree() {
	c.t.Helper()
	eventually(c.t, "the states differ", func() bool {
		up := c.others()
		for _, m := range up {
			if m.View().Hash() != up[0].View().Hash() {
				return false
			}
		}
		return true
	})
}

// write is a harmless command that can be found again in the state.
func write(id string) *fsmpb.Command {
	return &fsmpb.Command{Body: &fsmpb.Command_SetMember{SetMember: &fsmpb.SetMember{
		Member: &fsmpb.Member{NodeId: id, RaftAddress: "127.0.0.1:1"},
	}}}
}

// done has the command agreed on, whoever leads, repeating what is unknown.
func (c *testCluster) done(id string) {
	c.t.Helper()
	eventually(c.t, "write "+id, func() bool {
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
		defer cancel()
		_, err := c.leader().Propose(ctx, write(id))
		return err == nil
	})
}

// calm members do not lose leadership to a busy machine.
func calm(m *member) {
	m.cfg.HeartbeatTimeout, m.cfg.ElectionTimeout, m.cfg.LeaseTimeout = time.Second, time.Second, 500*time.Millisecond
}

func isAny(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

func logTo(j *journal) *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }
