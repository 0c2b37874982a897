// Package wires stands between the members of a cluster whose processes are tormented.
package wires

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Wires stand between the members. Each member is advertised at a wire, which leads
// to the host of its own where it listens, and from which it speaks; so a wire
// knows who is at both of its ends.
//
// A member that is cut off hears nothing and is not heard, and nobody is told:
// connections stay open and can be made, and what is written into them is kept. It
// arrives late, when the member is connected again, as it does after a network's
// failure.
type Wires struct {
	ctx     context.Context // ends with the wires
	cancel  context.CancelFunc
	running sync.WaitGroup
	// addresses are where the members are reached, hosts are those of their own.
	addresses, hosts []string

	mu      sync.Mutex
	off     map[int]bool
	changed chan struct{} // closed when off changes
	open    map[net.Conn]struct{}
}

// MemberHost is the loopback host of a member, from 0, that is its alone.
func MemberHost(i int) string { return fmt.Sprintf("127.0.0.%d", i+2) }

// New makes a wire at each of the addresses, to the member with that index at
// the same port of its own host. Close them.
func New(ctx context.Context, addresses []string) (*Wires, error) {
	w := &Wires{off: map[int]bool{}, changed: make(chan struct{}), open: map[net.Conn]struct{}{}}
	w.ctx, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	var listeners []net.Listener
	for i, address := range addresses {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err != nil {
			w.Close()
			return nil, fmt.Errorf("wire to member %d: %w", i, err)
		}
		w.running.Go(func() { <-w.ctx.Done(); _ = l.Close() })
		w.addresses, w.hosts = append(w.addresses, l.Addr().String()), append(w.hosts, MemberHost(i))
		listeners = append(listeners, l)
	}
	for i, l := range listeners {
		_, port, _ := net.SplitHostPort(w.addresses[i])
		to := net.JoinHostPort(MemberHost(i), port)
		w.running.Go(func() { w.accept(l, i, to) })
	}
	return w, nil
}

// Close ends all connections and returns when nothing is carried any more.
func (w *Wires) Close() {
	w.mu.Lock()
	w.cancel()
	for c := range w.open {
		_ = c.Close()
	}
	w.mu.Unlock()
	w.running.Wait()
}

// Cut takes a member off the wires.
func (w *Wires) Cut(member int) { w.set(member, true) }

// Connect takes it back.
func (w *Wires) Connect(member int) { w.set(member, false) }

func (w *Wires) set(member int, off bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.off[member] = off
	close(w.changed)
	w.changed = make(chan struct{})
}

// await returns when both members are on the wires.
func (w *Wires) await(a, b int) error {
	for {
		w.mu.Lock()
		on, changed := !w.off[a] && !w.off[b], w.changed
		w.mu.Unlock()
		if on {
			return nil
		}
		select {
		case <-changed:
		case <-w.ctx.Done():
			return net.ErrClosed
		}
	}
}

func (w *Wires) accept(l net.Listener, member int, to string) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // whoever called has gone
		}
		caller := w.who(conn)
		if caller < 0 || !w.hold(conn) {
			_ = conn.Close()
			continue
		}
		w.running.Go(func() {
			defer w.drop(conn)
			if w.await(caller, member) == nil {
				w.join(conn, caller, member, to)
			}
		})
	}
}

// who returns the member that calls; -1 if it is none.
func (w *Wires) who(conn net.Conn) int {
	host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	for i, h := range w.hosts {
		if h == host {
			return i
		}
	}
	return -1
}

// hold notes a connection, so that closing the wires ends it.
func (w *Wires) hold(conn net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx.Err() != nil {
		return false
	}
	w.open[conn] = struct{}{}
	return true
}

func (w *Wires) drop(conn net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, conn)
	_ = conn.Close()
}

// join carries what both ends say until one of them is gone.
func (w *Wires) join(conn net.Conn, caller, member int, to string) {
	far, err := (&net.Dialer{Timeout: time.Second}).DialContext(w.ctx, "tcp", to)
	if err != nil {
		return // the member does not run: the caller learns it by the end of this connection
	}
	if !w.hold(far) {
		_ = far.Close()
		return
	}
	var both sync.WaitGroup
	carry := func(to, from net.Conn) {
		defer func() { _, _ = to.Close(), from.Close() }()
		buffer := make([]byte, 64<<10)
		for {
			n, err := from.Read(buffer)
			if w.await(caller, member) != nil {
				return
			}
			if n > 0 {
				if _, err := to.Write(buffer[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
	both.Go(func() { carry(far, conn) })
	both.Go(func() { carry(conn, far) })
	both.Wait()
	w.drop(far)
}
