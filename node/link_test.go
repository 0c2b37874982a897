package node

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

func listen(t *testing.T) *Link {
	t.Helper()
	k, err := Listen(t.Context(), "127.0.0.1:0", "")
	require.NoError(t, err)
	t.Cleanup(func() { _ = k.Close() })
	return k
}

// knock opens a connection that says this and nothing more.
func knock(t *testing.T, k *Link, hello string) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", k.listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_, err = c.Write([]byte(hello))
	require.NoError(t, err)
	return c
}

// closed waits until the other side has closed the connection.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
	_, err := c.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "still open")
}

// A member with a host of its own is recognised by it.
func TestSourceAddress(t *testing.T) {
	t.Parallel()
	for listening, want := range map[string]string{
		"127.0.0.1:1": "", "[::1]:1": "", "0.0.0.0:1": "", "[::]:1": "",
		"127.0.0.3:1": "127.0.0.3:0", "192.0.2.7:1": "192.0.2.7:0",
	} {
		address := source(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(listening)))
		if want == "" {
			require.Nil(t, address, listening)
			continue
		}
		require.Equal(t, want, address.String(), listening)
	}
	from, err := Listen(t.Context(), "127.0.0.3:0", "")
	require.NoError(t, err)
	t.Cleanup(func() { _ = from.Close() })
	to := listen(t)
	_, err = from.Dial(t.Context(), to.Advertised())
	require.NoError(t, err)
	c, err := to.PeerListener().Accept()
	require.NoError(t, err)
	require.Equal(t, "127.0.0.3", c.RemoteAddr().(*net.TCPAddr).IP.String())
}

func TestListenAddress(t *testing.T) {
	t.Parallel()
	k, err := Listen(t.Context(), "127.0.0.1:0", "n1.members.example:8300")
	require.NoError(t, err)
	require.Equal(t, "n1.members.example:8300", k.Advertised())
	require.Equal(t, "n1.members.example:8300", k.PeerListener().Addr().String())
	require.Equal(t, "tcp", k.PeerListener().Addr().Network())
	taken := k.listener.Addr().String()
	_, err = Listen(t.Context(), taken, "")
	require.Error(t, err)
	require.NoError(t, k.Close())
	require.NoError(t, k.Close(), "closing again")

	_, err = Listen(t.Context(), "0.0.0.0:0", "")
	require.ErrorIs(t, err, errNotLoopback)
}

func TestProtocolsAreSorted(t *testing.T) {
	t.Parallel()
	k := listen(t)
	knock(t, k, "R\x05n1-ab.")
	c, err := (&stream{accepted: k.raft, nodeID: "n1-ab"}).Accept()
	require.NoError(t, err)
	rest := make([]byte, 1)
	_, err = io.ReadFull(c, rest)
	require.NoError(t, err)
	require.Equal(t, ".", string(rest), "what follows the hello belongs to the protocol")

	peer, err := k.Dial(t.Context(), k.Advertised())
	require.NoError(t, err)
	defer peer.Close()
	c, err = k.PeerListener().Accept()
	require.NoError(t, err)
	_, err = peer.Write([]byte("x"))
	require.NoError(t, err)
	_, err = io.ReadFull(c, rest)
	require.NoError(t, err)
	require.Equal(t, "x", string(rest))
}

func TestGarbageIsClosed(t *testing.T) {
	t.Parallel()
	k := listen(t)
	for name, hello := range map[string]string{
		"http": "GET / HTTP/1.1\r\n\r\n", "tls": "\x16\x03\x01", "zero": "\x00", "no target": "R\x00",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			closed(t, knock(t, k, hello))
		})
	}
}

// A connection for another node is not served, and the one for this node behind it is.
func TestOtherTarget(t *testing.T) {
	t.Parallel()
	k := listen(t)
	j := &journal{}
	s := &stream{accepted: k.raft, nodeID: "n1-new", log: logTo(j)}
	wrong := knock(t, k, "R\x06n1-old")
	right := make(chan net.Conn, 1)
	var running sync.WaitGroup
	running.Go(func() {
		c, err := s.Accept()
		assertThat(t, err == nil, err)
		right <- c
	})
	closed(t, wrong)
	knock(t, k, "R\x06n1-new")
	running.Wait()
	require.NotNil(t, <-right)
	require.True(t, j.has("n1-old"))
}

func FuzzHello(f *testing.F) {
	for _, s := range []string{"", "P", "R", "R\x00", "R\x03abc", "R\xffabc", "X"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		protocol, target, err := readHello(bytes.NewReader(b))
		if err != nil {
			require.ErrorIs(t, err, errHello)
			return
		}
		again, err := encodeHello(protocol, target)
		require.NoError(t, err)
		require.True(t, bytes.HasPrefix(b, again))
	})
}

func TestHelloBounds(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"", strings.Repeat("x", maxTarget+1)} {
		_, err := encodeHello(protocolRaft, target)
		require.ErrorIs(t, err, errHello)
	}
	b, err := encodeHello(protocolRaft, strings.Repeat("x", maxTarget))
	require.NoError(t, err)
	_, target, err := readHello(bytes.NewReader(b))
	require.NoError(t, err)
	require.Len(t, target, maxTarget)
}

// Silent connections delay neither Close nor others, and are bounded.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	k := listen(t)
	var silent []net.Conn
	for range 4 * maxPending {
		silent = append(silent, knock(t, k, ""))
	}
	k.mu.Lock()
	pending := len(k.pending)
	k.mu.Unlock()
	require.LessOrEqual(t, pending, maxPending)
	closed(t, silent[0]) // the oldest had to go

	c, err := k.Dial(t.Context(), k.Advertised())
	require.NoError(t, err)
	defer c.Close()
	_, err = k.PeerListener().Accept()
	require.NoError(t, err, "kept out by silent connections")

	began := time.Now()
	require.NoError(t, k.Close())
	require.Less(t, time.Since(began), helloTimeout/2, "Close waits for silent connections")
	closed(t, silent[len(silent)-1])
}

// Connections that said what they are for are bounded as well, also while
// nobody takes them over.
func TestManyConnections(t *testing.T) {
	t.Parallel()
	k := listen(t)
	for range maxPending + 50 {
		knock(t, k, "P")
	}
	eventually(t, "all knocked", func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return len(k.pending) <= maxPending && k.accepted <= maxPending
	})
	k.mu.Lock()
	k.accepted = maxAccepted // as if that many were open
	k.mu.Unlock()
	closed(t, knock(t, k, "P"))
	began := time.Now()
	require.NoError(t, k.Close())
	require.Less(t, time.Since(began), helloTimeout/2)
}

func TestClosedLink(t *testing.T) {
	t.Parallel()
	k, other := listen(t), listen(t)
	c, err := k.Dial(t.Context(), other.Advertised())
	require.NoError(t, err)
	incoming, err := other.PeerListener().Accept()
	require.NoError(t, err)
	require.NoError(t, other.Close())
	closed(t, c)
	_, err = incoming.Read(make([]byte, 1))
	require.Error(t, err, "in-flight connections are closed by force")
	_, err = other.PeerListener().Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = k.Dial(t.Context(), other.Advertised())
	require.Error(t, err)
	require.NoError(t, k.Close())
	_, err = k.Dial(t.Context(), k.Advertised())
	require.Error(t, err)
	require.Empty(t, k.open)
}

// Closing one protocol's listener ends its Accept and leaves the other alone.
func TestListenerOfOneProtocol(t *testing.T) {
	t.Parallel()
	k := listen(t)
	l := k.PeerListener()
	var running sync.WaitGroup
	running.Go(func() {
		_, err := l.Accept()
		assertThat(t, isAny(err, net.ErrClosed), err)
	})
	require.NoError(t, l.Close())
	running.Wait()
	closed(t, knock(t, k, "P"))
	knock(t, k, "R\x01a")
	_, err := k.raft.Accept()
	require.NoError(t, err)
}

func twoTransports(t *testing.T) (from, to *transport, address raft.ServerAddress) {
	t.Helper()
	make1 := func(id string) (*transport, *Link) {
		k := listen(t)
		tr := newTransport(k, id, raftLogger(logTo(&journal{}), func() bool { return false }), logTo(&journal{}))
		t.Cleanup(func() { _ = k.Close(); _ = tr.Close() })
		return tr, k
	}
	from, _ = make1("a-1")
	to, k := make1("b-1")
	return from, to, raft.ServerAddress(k.Advertised())
}

// Heartbeats must reach the main loop like everything else, whatever handler
// Raft installs: the fast path can raise the term under a leader.
func TestHeartbeatsAreSerial(t *testing.T) {
	t.Parallel()
	from, to, address := twoTransports(t)
	to.SetHeartbeatHandler(func(raft.RPC) { t.Error("the fast path is installed") })
	require.Equal(t, address, to.LocalAddr())
	heartbeat := &raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte("a-1"), Addr: []byte(from.LocalAddr())}, Term: 3,
	}
	var running sync.WaitGroup
	running.Go(func() {
		rpc := <-to.Consumer()
		got, ok := rpc.Command.(*raft.AppendEntriesRequest)
		assertThat(t, ok && got.Term == 3 && len(got.Entries) == 0, nil)
		rpc.Respond(&raft.AppendEntriesResponse{Term: 3, Success: true}, nil)
	})
	var answer raft.AppendEntriesResponse
	require.NoError(t, from.AppendEntries("b-1", address, heartbeat, &answer))
	require.True(t, answer.Success)
	running.Wait()
	require.Zero(t, to.committed.Load(), "a heartbeat does not say what is committed")
}

func TestTransportNotesTheFirstCommit(t *testing.T) {
	t.Parallel()
	from, to, address := twoTransports(t)
	var running sync.WaitGroup
	running.Go(func() {
		for range 2 {
			rpc := <-to.Consumer()
			rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
		}
	})
	for _, commit := range []uint64{40, 50} {
		require.NoError(t, from.AppendEntries("b-1", address, &raft.AppendEntriesRequest{LeaderCommitIndex: commit}, &raft.AppendEntriesResponse{}))
	}
	running.Wait()
	require.EqualValues(t, 40, to.committed.Load())
}

// Every kind of request says for whom it is.
func TestRequestsForAnotherNode(t *testing.T) {
	t.Parallel()
	from, to, address := twoTransports(t)
	var running sync.WaitGroup
	stop, cancel := context.WithCancel(t.Context())
	running.Go(func() {
		select {
		case rpc := <-to.Consumer():
			t.Errorf("a request for another node came through: %T", rpc.Command)
			rpc.Respond(nil, errCut)
		case <-stop.Done():
		}
	})
	require.Error(t, from.RequestVote("b-0", address, &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{}))
	require.Error(t, from.RequestPreVote("b-0", address, &raft.RequestPreVoteRequest{}, &raft.RequestPreVoteResponse{}))
	require.Error(t, from.AppendEntries("b-0", address, &raft.AppendEntriesRequest{}, &raft.AppendEntriesResponse{}))
	require.Error(t, from.TimeoutNow("b-0", address, &raft.TimeoutNowRequest{}, &raft.TimeoutNowResponse{}))
	require.Error(t, from.InstallSnapshot("b-0", address, &raft.InstallSnapshotRequest{}, &raft.InstallSnapshotResponse{}, strings.NewReader("")))
	p, err := from.AppendEntriesPipeline("b-0", address)
	require.NoError(t, err)
	_, err = p.AppendEntries(&raft.AppendEntriesRequest{}, &raft.AppendEntriesResponse{})
	if err == nil {
		require.Error(t, (<-p.Consumer()).Error())
	}
	require.NoError(t, p.Close())
	cancel()
	running.Wait()
}
