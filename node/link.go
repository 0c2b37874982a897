package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// helloTimeout is how long a connection may take to say what it is for and
	// to be taken over by whoever serves that.
	helloTimeout = 5 * time.Second
	// dialTimeout bounds looking a name up and connecting to what it stands for: a pod
	// that came back has another IP, and packets to the old one may vanish.
	dialTimeout = 2 * time.Second
	// lostAfter is how long what was sent may stay unacknowledged before the connection
	// is given up; what is dialled next goes to where the name leads by then.
	lostAfter = 2 * time.Second
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
	guard    *guard // nil without TLS
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
var errNotLoopback = errors.New("without TLS members do not prove themselves to each other, so only loopback is allowed")

// Listen opens the port without TLS, which is allowed on loopback addresses only.
// Advertise is host:port, the address itself if empty.
func Listen(ctx context.Context, address, advertise string) (*Link, error) {
	return open(ctx, address, advertise, nil)
}

// ListenTLS opens the port to members who prove themselves by certificates.
func ListenTLS(ctx context.Context, address, advertise string, security Security) (*Link, error) {
	return open(ctx, address, advertise, newGuard(security))
}

func open(ctx context.Context, address, advertise string, g *guard) (*Link, error) {
	lc := net.ListenConfig{Control: giveUp(lostAfter), KeepAliveConfig: keepAlive()} // connections inherit it
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for members: %w", err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); g == nil && (!ok || !a.IP.IsLoopback()) {
		_ = l.Close()
		return nil, fmt.Errorf("listen for members on %s: %w", l.Addr(), errNotLoopback)
	}
	k := &Link{listener: l, guard: g, address: raft.ServerAddress(advertise), open: make(map[*linkConn]struct{})}
	if advertise == "" {
		k.address = raft.ServerAddress(l.Addr().String())
	}
	from := source(l.Addr())
	k.dialer = func(ctx context.Context, address string) (net.Conn, error) {
		d := net.Dialer{LocalAddr: from, Timeout: dialTimeout, Control: giveUp(lostAfter), KeepAliveConfig: keepAlive()}
		return d.DialContext(ctx, "tcp", address)
	}
	k.raft, k.peer = newAccepted(k), newAccepted(k)
	k.ctx, k.cancel = context.WithCancel(context.Background())
	k.running.Go(k.accept)
	return k, nil
}

// keepAlive finds out within some seconds that a silent connection leads nowhere.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 3}
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
	c := &linkConn{Conn: conn, raw: conn, link: k, incoming: true}
	if k.guard != nil {
		c.Conn = tls.Server(conn, k.guard.config) // the handshake is not made here
	}
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
	_ = c.SetDeadline(time.Now().Add(helloTimeout))
	protocol, target, err := k.welcome(c)
	if err != nil {
		_ = c.Close()
		return
	}
	_ = c.SetDeadline(time.Time{})
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

// welcome makes the handshake, where there is TLS, and reads the hello.
func (k *Link) welcome(c *linkConn) (protocol byte, target string, err error) {
	secured, ok := c.Conn.(*tls.Conn)
	if ok {
		if err := secured.HandshakeContext(k.ctx); err != nil {
			if k.ctx.Err() == nil {
				k.guard.report(c.raw.RemoteAddr(), err)
			}
			return 0, "", fmt.Errorf("handshake: %w", err)
		}
	}
	if protocol, target, err = readHello(c); err != nil {
		return 0, "", err
	}
	if ok && secured.ConnectionState().NegotiatedProtocol != alpnOf(protocol) {
		return 0, "", fmt.Errorf("%w: protocol %q under another name", errHello, protocol)
	}
	return protocol, target, nil
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
	c := &linkConn{Conn: conn, raw: conn, link: k}
	if k.guard != nil {
		config, err := k.guard.dialing(address, protocol)
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
		c.Conn = tls.Client(conn, config)
	}
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
	if err := c.greet(ctx, hello); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("connect to member at %s: %w", address, err)
	}
	return c, nil
}

// linkConn is a connection that ends with its link.
type linkConn struct {
	net.Conn          // with TLS where there is TLS
	raw      net.Conn // without
	link     *Link
	incoming bool
	target   string // ID of the node that the other side means to reach
}

// greet makes the handshake, where there is TLS, and says the hello.
func (c *linkConn) greet(ctx context.Context, hello []byte) error {
	if secured, ok := c.Conn.(*tls.Conn); ok {
		ctx, cancel := context.WithTimeout(ctx, helloTimeout)
		defer cancel()
		if err := secured.HandshakeContext(ctx); err != nil {
			return err //nolint:wrapcheck // the caller wraps
		}
	}
	_, err := c.Write(hello)
	return err //nolint:wrapcheck // the caller wraps
}

// Close implements net.Conn. It closes by force: a farewell of TLS could wait for
// somebody who does not read.
func (c *linkConn) Close() error {
	c.link.mu.Lock()
	if _, ok := c.link.open[c]; ok {
		delete(c.link.open, c)
		if c.incoming {
			c.link.accepted--
		}
	}
	c.link.mu.Unlock()
	return c.raw.Close() //nolint:wrapcheck // the connection itself
}

// Describe implements prometheus.Collector.
func (k *Link) Describe(ch chan<- *prometheus.Desc) {
	if k.guard != nil {
		k.guard.count.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (k *Link) Collect(ch chan<- prometheus.Metric) {
	if k.guard != nil {
		k.guard.count.Collect(ch)
	}
}
