package node

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// Protocols that share the port between members. The first byte of a
// connection says which one it speaks.
const (
	protocolRaft byte = 'R'
	protocolPeer byte = 'P'
)

const maxTarget = 255 // bytes of a node ID

var errHello = errors.New("malformed hello")

// encodeHello is what a connection begins with: the protocol and, for Raft, the
// length and the ID of the node that is meant.
//
// Raft itself never says to whom it speaks. Without the ID a node that lost its
// disk would answer for the one that it was, and its vote, given without a log,
// could elect a leader that lacks committed entries.
func encodeHello(protocol byte, target string) ([]byte, error) {
	if protocol != protocolRaft {
		return []byte{protocol}, nil
	}
	if target == "" || len(target) > maxTarget {
		return nil, fmt.Errorf("%w: node ID of %d bytes", errHello, len(target))
	}
	return append([]byte{protocol, byte(len(target))}, target...), nil //nolint:gosec // at most maxTarget
}

func readHello(r io.Reader) (protocol byte, target string, err error) {
	b := make([]byte, 1, 1+maxTarget)
	if _, err := io.ReadFull(r, b); err != nil {
		return 0, "", fmt.Errorf("%w: %w", errHello, err)
	}
	switch protocol = b[0]; protocol {
	case protocolPeer:
		return protocol, "", nil
	case protocolRaft:
	default:
		return 0, "", fmt.Errorf("%w: protocol %q", errHello, protocol)
	}
	if _, err := io.ReadFull(r, b); err != nil || b[0] == 0 {
		return 0, "", fmt.Errorf("%w: no node ID", errHello)
	}
	b = b[:b[0]]
	if _, err := io.ReadFull(r, b); err != nil {
		return 0, "", fmt.Errorf("%w: %w", errHello, err)
	}
	return protocol, string(b), nil
}

// PeerListener accepts the connections of the peer protocol. Closing it leaves
// the link open.
func (k *Link) PeerListener() net.Listener { return k.peer }

// accepted is the part of a link that speaks one protocol.
type accepted struct {
	link   *Link
	conns  chan *linkConn
	closed chan struct{}
	once   sync.Once
}

func newAccepted(k *Link) *accepted {
	return &accepted{link: k, conns: make(chan *linkConn), closed: make(chan struct{})}
}

func (a *accepted) next() (*linkConn, error) {
	select {
	case c := <-a.conns:
		return c, nil
	case <-a.closed:
	case <-a.link.ctx.Done():
	}
	return nil, net.ErrClosed
}

// Accept implements net.Listener.
func (a *accepted) Accept() (net.Conn, error) {
	c, err := a.next()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Close implements net.Listener; the link itself stays open.
func (a *accepted) Close() error {
	a.once.Do(func() { close(a.closed) })
	return nil
}

// Addr implements net.Listener.
func (a *accepted) Addr() net.Addr { return advertised(a.link.address) }

// advertised is a net.Addr that is a name.
type advertised string

// Network implements net.Addr.
func (advertised) Network() string { return "tcp" }

// String implements net.Addr.
func (a advertised) String() string { return string(a) }
