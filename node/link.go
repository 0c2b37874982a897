package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Protocols that share the port between members. The first byte of a
// connection says which one it speaks.
const (
	protocolRaft byte = 'R'
	protocolPeer byte = 'P'
)

const helloTimeout = 5 * time.Second

// Link is the port on which the members talk to each other: Raft, and the peer
// protocol by which they find out about each other. Its address is the name
// that was advertised, never an IP that a pod would lose.
type Link struct {
	listener net.Listener
	address  raft.ServerAddress
	raft     chan net.Conn
	peer     chan net.Conn
	closed   chan struct{}
	once     sync.Once
	running  sync.WaitGroup
}

// Listen opens the port. Only loopback addresses are allowed while members do
// not prove themselves to each other by TLS.
func Listen(ctx context.Context, address, advertise string) (*Link, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for members: %w", err)
	}
	k := &Link{
		listener: l, address: raft.ServerAddress(advertise),
		raft: make(chan net.Conn), peer: make(chan net.Conn), closed: make(chan struct{}),
	}
	if advertise == "" {
		k.address = raft.ServerAddress(l.Addr().String())
	}
	k.running.Go(k.accept)
	return k, nil
}

// Advertised is the address under which the other members reach this one.
func (k *Link) Advertised() string { return string(k.address) }

// Close closes the port and waits for what it started.
func (k *Link) Close() error {
	var err error
	k.once.Do(func() {
		close(k.closed)
		err = k.listener.Close()
	})
	k.running.Wait()
	if err != nil {
		return fmt.Errorf("close member port: %w", err)
	}
	return nil
}

func (k *Link) accept() {
	for {
		conn, err := k.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			select { // out of file descriptors, most likely
			case <-k.closed:
				return
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		k.running.Go(func() { k.sort(conn) })
	}
}

// sort hands a connection to the protocol that its first byte names.
func (k *Link) sort(conn net.Conn) {
	first := make([]byte, 1)
	_ = conn.SetReadDeadline(time.Now().Add(helloTimeout))
	if _, err := conn.Read(first); err != nil {
		_ = conn.Close()
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	var to chan net.Conn
	switch first[0] {
	case protocolRaft:
		to = k.raft
	case protocolPeer:
		to = k.peer
	default:
		_ = conn.Close()
		return
	}
	select {
	case to <- conn:
	case <-k.closed:
		_ = conn.Close()
	}
}

// Dial connects to another member's peer protocol.
func (k *Link) Dial(ctx context.Context, address string) (net.Conn, error) {
	return dial(ctx, address, protocolPeer)
}

func dial(ctx context.Context, address string, protocol byte) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to member: %w", err)
	}
	if _, err := conn.Write([]byte{protocol}); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connect to member: %w", err)
	}
	return conn, nil
}

// PeerListener accepts the connections of the peer protocol.
func (k *Link) PeerListener() net.Listener { return &accepted{link: k, conns: k.peer} }

// accepted is the part of a link that speaks one protocol.
type accepted struct {
	link  *Link
	conns chan net.Conn
}

// Accept implements net.Listener.
func (a *accepted) Accept() (net.Conn, error) {
	select {
	case conn := <-a.conns:
		return conn, nil
	case <-a.link.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener; the link itself stays open.
func (a *accepted) Close() error { return nil }

// Addr implements net.Listener.
func (a *accepted) Addr() net.Addr { return advertised(a.link.address) }

// Dial implements raft.StreamLayer.
func (a *accepted) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return dial(ctx, string(address), protocolRaft)
}

// advertised is a net.Addr that is a name.
type advertised string

// Network implements net.Addr.
func (advertised) Network() string { return "tcp" }

// String implements net.Addr.
func (a advertised) String() string { return string(a) }

// serialTransport never installs the fast path for heartbeats, on which a
// connection's goroutine could raise the term under the leader's loop: a
// deposed leader would then write commands in a term that it never led.
type serialTransport struct {
	*raft.NetworkTransport
}

// SetHeartbeatHandler implements raft.Transport by not doing it.
func (serialTransport) SetHeartbeatHandler(func(raft.RPC)) {}

var _ raft.WithPreVote = serialTransport{}
