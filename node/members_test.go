package node

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/pki/pkitest"
	"github.com/keysteward/keysteward/node/raftlog"
)

func TestNameOf(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"n1-0a0b0c0d": "n1", "ks-0-0a0b0c0d": "ks-0", "-0a0b0c0d": "", "n1": "", "n1-0a": "", "": "",
	} {
		require.Equal(t, want, NameOf(id), id)
	}
}

// configuration of a member as it knows it.
func (m *member) configuration() Configuration {
	m.t.Helper()
	c, err := m.Configuration()
	require.NoError(m.t, err)
	return c
}

// Members come and go one by one, and a change that was decided on an older
// configuration is refused.
func TestMembersChange(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, calm)
	l := c.leader()
	c.done("before")
	more := newMember(t, c.wires, "n4")
	more.up()
	c.members = append(c.members, more)
	old := l.configuration()
	require.Equal(t, 3, old.Voters())
	require.NoError(t, l.AddLearner(more.ID(), more.address, old.Index))
	for _, change := range []func() error{
		func() error { return l.AddLearner("n5-00000000", "127.0.0.1:1", old.Index) },
		func() error { return l.Promote(more.ID(), more.address, old.Index) },
		func() error { return l.Remove(more.ID(), old.Index) },
	} {
		err := change()
		require.ErrorContains(t, err, "configuration changed since")
		require.False(t, isAny(err, ErrNotLeader, ErrUnknownOutcome), "surely nothing happened")
	}
	learner, found := l.configuration().Find(more.ID())
	require.True(t, found)
	require.Equal(t, Member{ID: more.ID(), Address: more.address}, learner)
	require.Equal(t, "n4", learner.Name())
	c.agree()
	eventually(t, "it says that it does not vote", func() bool {
		i := slices.IndexFunc(more.Checks(), func(c Check) bool { return c.Name == "member" })
		check := more.Checks()[i]
		return !check.OK && check.Detail == "part of a cluster of 4, and does not vote yet"
	})
	require.NoError(t, l.Promote(more.ID(), more.address, l.configuration().Index))
	require.Equal(t, 4, l.configuration().Voters())
	require.NoError(t, l.Remove(more.ID(), l.configuration().Index))
	require.Equal(t, old.Members, l.configuration().Members)
	require.Equal(t, old.Members, func() Configuration {
		more := l.configuration()
		more.Members = append(more.Members, learner)
		return more.Without(learner.ID)
	}().Members)
	for _, m := range c.others(l, more) {
		require.ErrorIs(t, m.Remove("n9-00000000", 0), ErrNotLeader)
		require.ErrorIs(t, m.Remove("n9-00000000", l.configuration().Index), ErrNotLeader)
		require.Zero(t, m.configuration().Index)
	}
}

// The index of the members outlives a snapshot and the log before it.
func TestMembersIndexOfASnapshot(t *testing.T) {
	t.Parallel()
	m := newCluster(t, 1, calm).members[0]
	eventually(t, "it leads", func() bool { return m.Status().IsLeader })
	index := m.configuration().Index
	require.Positive(t, index)
	require.NoError(t, m.raft.Snapshot().Error())
	m.down()
	m.up()
	eventually(t, "it leads", func() bool { return m.Status().IsLeader })
	require.Zero(t, m.replica.members.Load(), "the log behind the snapshot tells nothing")
	require.Equal(t, index, m.configuration().Index)
	require.NoError(t, m.AddLearner("n2-00000000", "127.0.0.1:1", index))
	require.Greater(t, m.configuration().Index, index)
	require.ErrorContains(t, m.AddLearner("n3-00000000", "127.0.0.1:2", index), "configuration changed since")
}

// A leader passes its leadership on to who fits, and to nobody if none does.
func TestPassOn(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, calm)
	l := c.leader()
	c.done("before")
	require.ErrorIs(t, l.PassOn(t.Context(), func(string) bool { return false }), errNoHeir)
	heir := c.others(l)[1]
	require.NoError(t, l.PassOn(t.Context(), func(id string) bool { return id == heir.ID() }))
	require.Same(t, heir, c.leader(l))
	require.NoError(t, l.PassOn(t.Context(), nil), "who does not lead has nothing to pass on")
}

func TestClusterOfAFolder(t *testing.T) {
	t.Parallel()
	m := newMember(t, &wires{}, "n1")
	reopen := func() {
		if m.Node != nil {
			m.down()
		}
		m.open()
	}
	reopen()
	require.Empty(t, m.ClusterID())
	require.False(t, m.Joining())
	require.NoError(t, m.Joined(), "nothing is known")
	require.NoFileExists(t, filepath.Join(m.cfg.DataDir, clusterFile))
	for _, bad := range []string{"", "x", "C0DE", "c0de\n"} {
		require.ErrorIs(t, m.Join(bad), errClusterID)
	}
	require.NoError(t, m.Join("c0de"))
	reopen()
	require.Equal(t, "c0de", m.ClusterID())
	require.True(t, m.Joining())
	require.NoError(t, m.store.SetUint64([]byte(raftlog.KeyCurrentTerm), 1), "what a member has")
	require.NoError(t, m.Joined())
	reopen()
	require.Equal(t, "c0de", m.ClusterID())
	require.False(t, m.Joining())
	require.NoError(t, m.Join("beef"))
	require.NoError(t, m.store.SetUint64([]byte(raftlog.KeyCurrentTerm), 0))
	require.NoError(t, m.Bootstrap([]raft.Server{{ID: raft.ServerID(m.ID()), Address: raft.ServerAddress(m.address)}}))
	require.Empty(t, m.ClusterID(), "who founds joins nothing")
	m.Start()
	eventually(t, "the cluster has an ID", func() bool { return m.ClusterID() != "" })
	founded := m.ClusterID()
	require.NoError(t, m.Joined())
	reopen()
	require.Equal(t, founded, m.ClusterID(), "before anything is applied")
	m.down()
	require.NoError(t, os.WriteFile(filepath.Join(m.cfg.DataDir, clusterFile), []byte("no\n"), 0o600))
	_, err := Open(m.cfg, m.listen())
	require.ErrorIs(t, err, errClusterID)
}

// Hosts at which there may be members are let in beside the founders and the members.
func TestOthersAreLetIn(t *testing.T) {
	t.Parallel()
	ca := pkitest.NewAuthority(t, "Raft CA")
	j := &journal{}
	k, err := ListenTLS(t.Context(), "127.0.0.1:0", "", Security{
		Certificates: certified(t, ca, []string{"127.0.0.1"}), Founders: []string{"127.0.0.1:1"}, Logger: logTo(j),
		Others: func(host string) bool { return host == "n9.example" },
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = k.Close() })
	for host, in := range map[string]bool{"n9.example": true, "n8.example": false} {
		from, err := ListenTLS(t.Context(), "127.0.0.1:0", "", Security{Certificates: certified(t, ca, []string{host})})
		require.NoError(t, err)
		c, err := from.Dial(t.Context(), k.Advertised())
		require.NoError(t, err, "the answer comes later")
		if in {
			accepted, err := k.PeerListener().Accept()
			require.NoError(t, err)
			require.NoError(t, accepted.Close())
		} else {
			eventually(t, "it is refused", func() bool { return j.has("is for n8.example, and no member is there") })
		}
		_ = c.Close()
		require.NoError(t, from.Close())
	}
}

// nameService stands for DNS: what a name leads to may change, or not be there yet.
type nameService struct {
	mu    sync.Mutex
	leads map[string]string
}

func (n *nameService) set(name, address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.leads[name] = address
}

func (n *nameService) dial(ctx context.Context, name string) (net.Conn, error) {
	n.mu.Lock()
	address, known := n.leads[name]
	n.mu.Unlock()
	if !known {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// A member that comes back where its name leads to another address is found again, also
// by those whose connections led to the old one.
func TestAMemberMoves(t *testing.T) {
	t.Parallel()
	n := &nameService{leads: map[string]string{}}
	c := &testCluster{t: t, wires: &wires{cut: map[[2]string]bool{}, conns: map[[2]string][]net.Conn{}}}
	var servers []raft.Server
	open := func(m *member) {
		name := m.cfg.Name + ".test:8300"
		k, err := Listen(t.Context(), "127.0.0.1:0", name)
		require.NoError(t, err)
		k.dialer = n.dial
		n.set(name, k.listener.Addr().String())
		m.Node, err = Open(m.cfg, k)
		require.NoError(t, err)
		m.Start()
		require.Equal(t, name, k.Advertised())
	}
	for _, name := range []string{"n1", "n2", "n3"} {
		m := newMember(t, c.wires, name)
		open(m)
		c.members = append(c.members, m)
		servers = append(servers, raft.Server{ID: raft.ServerID(m.ID()), Address: raft.ServerAddress(name + ".test:8300")})
	}
	require.NoError(t, c.members[0].Bootstrap(servers))
	for range 3 { // also the leader
		m := c.leader()
		c.done("before-" + m.cfg.Name)
		before := n.leads[m.cfg.Name+".test:8300"]
		m.down()
		stale, err := new(net.ListenConfig).Listen(t.Context(), "tcp", before) // somebody else has its address now
		require.NoError(t, err)
		c.done("meanwhile-" + m.cfg.Name)
		open(m)
		require.NotEqual(t, before, n.leads[m.cfg.Name+".test:8300"])
		c.agree()
		require.NoError(t, stale.Close())
	}
}

// What is sent to nobody is given up in seconds, not in TCP's quarter of an hour.
func TestLostConnectionsAreGivenUp(t *testing.T) {
	t.Parallel()
	k, err := Listen(t.Context(), "127.0.0.1:0", "")
	require.NoError(t, err)
	t.Cleanup(func() { _ = k.Close() })
	c, err := k.Dial(t.Context(), k.Advertised())
	require.NoError(t, err)
	accepted, err := k.PeerListener().Accept()
	require.NoError(t, err)
	for _, conn := range []net.Conn{c, accepted} {
		of, ok := conn.(*linkConn)
		require.True(t, ok)
		require.Equal(t, lostAfter, userTimeout(t, of.raw))
	}
	// Nobody is at an address of documentation (RFC 5737), or it is refused at once.
	began := time.Now()
	_, err = k.dialer(t.Context(), "192.0.2.1:8300")
	require.Error(t, err)
	require.Less(t, time.Since(began), 2*dialTimeout)
	var network net.Error
	require.ErrorAs(t, err, &network)
}
