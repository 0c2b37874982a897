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

const (
	// helloTimeout is how long a connection may take to say what it is for and
	// to be taken over by whoever serves that.
	helloTimeout = 5 * time.Second
	// maxPending connections may be about to say so; one more costs the oldest
	// its place, so that silent ones never keep a member out.
	maxPending = 128
	// maxAccepted connections may be open; a member needs about ten.
	maxAccepted = 1024
)

// Link is the port on which the members talk to each other: Raft, and the peer
// protocol by which they find out about each other. Its address is the name
// that was advertised, never an IP that a pod would lose.
type Link struct {
	listener net.Listener
	address  raft.ServerAddress
	raft     *accepted
	peer     *accepted
	dialer   func(ctx context.Context, address string) (net.Conn, error)

	ctx     context.Context // ends with the link, and all that it dials with it
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	open     map[*linkConn]struct{}
	accepted int         // of those that are open
	pending  []*linkConn // accepted, and not taken over yet; the oldest first
}

// errNotLoopback says that a port was to be opened to other machines.
var errNotLoopback = errors.New("members do not prove themselves to each other yet, so only loopback is allowed")

// Listen opens the port. Only loopback addresses are allowed while members do
// not prove themselves to each other by TLS.
func Listen(ctx context.Context, address, advertise string) (*Link, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for members: %w", err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		_ = l.Close()
		return nil, fmt.Errorf("listen for members on %s: %w", l.Addr(), errNotLoopback)
	}
	k := &Link{listener: l, address: raft.ServerAddress(advertise), open: make(map[*linkConn]struct{})}
	if advertise == "" {
		k.address = raft.ServerAddress(l.Addr().String())
	}
	from := source(l.Addr())
	k.dialer = func(ctx context.Context, address string) (net.Conn, error) {
		return (&net.Dialer{LocalAddr: from}).DialContext(ctx, "tcp", address)
	}
	k.raft, k.peer = newAccepted(k), newAccepted(k)
	k.ctx, k.cancel = context.WithCancel(context.Background())
	k.running.Go(k.accept)
	return k, nil
}

// source is the address from which a member speaks that listens on this one: the
// same host if it was given one of its own, so that whoever stands between members
// can tell them apart; nil, the system's choice, for what all share.
func source(listening net.Addr) net.Addr {
	a, ok := listening.(*net.TCPAddr)
	if !ok || a.IP.IsUnspecified() || a.IP.Equal(net.IPv6loopback) || a.IP.Equal(net.IPv4(127, 0, 0, 1)) {
		return nil
	}
	return &net.TCPAddr{IP: a.IP, Zone: a.Zone}
}

// Advertised is the address under which the other members reach this one.
func (k *Link) Advertised() string { return string(k.address) }

// Close closes the port and every connection, and waits for what it started.
func (k *Link) Close() error {
	k.mu.Lock()
	first := k.ctx.Err() == nil
	k.cancel()
	conns := make([]*linkConn, 0, len(k.open))
	for c := range k.open {
		conns = append(conns, c)
	}
	k.mu.Unlock()
	var err error
	if first {
		err = k.listener.Close()
	}
	for _, c := range conns {
		_ = c.Close()
	}
	k.running.Wait()
	if err != nil {
		return fmt.Errorf("close member port: %w", err)
	}
	return nil
}

func (k *Link) accept() {
	for {
		conn, err := k.listener.Accept()
		if err == nil {
			if c := k.admit(conn); c != nil {
				k.running.Go(func() { k.sort(c) })
			}
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		select { // out of file descriptors, most likely
		case <-k.ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// admit takes a connection in, or closes it and returns nil.
func (k *Link) admit(conn net.Conn) *linkConn {
	c := &linkConn{Conn: conn, link: k, incoming: true}
	k.mu.Lock()
	if k.ctx.Err() != nil || k.accepted >= maxAccepted {
		k.mu.Unlock()
		_ = conn.Close()
		return nil
	}
	k.open[c] = struct{}{}
	k.accepted++
	var oldest *linkConn
	if k.pending = append(k.pending, c); len(k.pending) > maxPending {
		oldest = k.pending[0]
		k.pending = k.pending[1:]
	}
	k.mu.Unlock()
	if oldest != nil {
		_ = oldest.Close()
	}
	return c
}

// sort hands a connection to the protocol that its hello names.
func (k *Link) sort(c *linkConn) {
	defer k.sorted(c)
	_ = c.SetReadDeadline(time.Now().Add(helloTimeout))
	protocol, target, err := readHello(c)
	if err != nil {
		_ = c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	c.target = target
	to := k.peer
	if protocol == protocolRaft {
		to = k.raft
	}
	select {
	case to.conns <- c:
		return
	case <-time.After(helloTimeout):
	case <-to.closed:
	case <-k.ctx.Done():
	}
	_ = c.Close()
}

func (k *Link) sorted(c *linkConn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, p := range k.pending {
		if p == c {
			k.pending = append(k.pending[:i:i], k.pending[i+1:]...)
			return
		}
	}
}

// Dial connects to another member's peer protocol.
func (k *Link) Dial(ctx context.Context, address string) (net.Conn, error) {
	return k.dial(ctx, address, protocolPeer, "")
}

func (k *Link) dial(ctx context.Context, address string, protocol byte, target string) (net.Conn, error) {
	hello, err := encodeHello(protocol, target)
	if err != nil {
		return nil, err
	}
	conn, err := k.dialer(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("connect to member: %w", err)
	}
	c := &linkConn{Conn: conn, link: k}
	k.mu.Lock()
	over := k.ctx.Err() != nil
	if !over {
		k.open[c] = struct{}{}
	}
	k.mu.Unlock()
	if over {
		_ = conn.Close()
		return nil, fmt.Errorf("connect to member: %w", net.ErrClosed)
	}
	if _, err := c.Write(hello); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("connect to member: %w", err)
	}
	return c, nil
}

// linkConn is a connection that ends with its link.
type linkConn struct {
	net.Conn
	link     *Link
	incoming bool
	target   string // ID of the node that the other side means to reach
}

// Close implements net.Conn.
func (c *linkConn) Close() error {
	c.link.mu.Lock()
	if _, ok := c.link.open[c]; ok {
		delete(c.link.open, c)
		if c.incoming {
			c.link.accepted--
		}
	}
	c.link.mu.Unlock()
	return c.Conn.Close() //nolint:wrapcheck // the connection itself
}
