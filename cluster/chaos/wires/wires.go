// Package wires stands between the members of a cluster whose processes are tormented.
package wires

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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
	blocked map[way]int
	late    map[way]time.Duration
	scatter map[way]time.Duration
	changed chan struct{} // closed when one of these changes
	open    map[net.Conn]struct{}
}

// MemberHost is the loopback host of a member, from 0, that is its alone.
func MemberHost(i int) string { return fmt.Sprintf("127.0.0.%d", i+2) }

// New makes a wire at each of the addresses, to the member with that index at
// the same port of its own host. Close them.
func New(ctx context.Context, addresses []string) (*Wires, error) {
	w := &Wires{off: map[int]bool{}, blocked: map[way]int{}, late: map[way]time.Duration{}, scatter: map[way]time.Duration{}, changed: make(chan struct{}), open: map[net.Conn]struct{}{}}
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
func (w *Wires) Cut(member int) { w.change(func() { w.off[member] = true }) }

// Connect takes it back.
func (w *Wires) Connect(member int) { w.change(func() { delete(w.off, member) }) }

// way is what goes from one member to another.
type way struct{ from, to int }

// Block lets nothing through from one member to another until undo is called. The way
// back stays open, but for what TCP itself needs: no new connection is made between the
// two. A way that is blocked more than once is open when all of it was undone.
func (w *Wires) Block(from, to int) (undo func()) {
	w.change(func() { w.blocked[way{from, to}]++ })
	return sync.OnceFunc(func() { w.change(func() { w.blocked[way{from, to}]-- }) })
}

// Delay makes everything from one member to another arrive so much later until undo is
// called. Delays of the same way add up.
func (w *Wires) Delay(from, to int, by time.Duration) (undo func()) {
	w.change(func() { w.late[way{from, to}] += by })
	return sync.OnceFunc(func() { w.change(func() { w.late[way{from, to}] -= by }) })
}

// Scatter makes what each connection carries from one member to another arrive later by a
// time of its own, of most at most, until undo is called: as if each took another road, of
// which some are crowded. Within a connection everything keeps its order. It adds up with
// what else makes the way late.
func (w *Wires) Scatter(from, to int, most time.Duration) (undo func()) {
	w.change(func() { w.scatter[way{from, to}] += most })
	return sync.OnceFunc(func() { w.change(func() { w.scatter[way{from, to}] -= most }) })
}

func (w *Wires) change(how func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	how()
	close(w.changed)
	w.changed = make(chan struct{})
}

// await returns when something can go these ways.
func (w *Wires) await(ways ...way) error {
	for {
		w.mu.Lock()
		on, changed := true, w.changed
		for _, v := range ways {
			on = on && !w.off[v.from] && !w.off[v.to] && w.blocked[v] == 0
		}
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

// lateness is how much later than now something arrives that takes this road: 0 is the one
// that is never crowded, 1 the one that is most.
func (w *Wires) lateness(v way, road float64) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.late[v] + time.Duration(road*float64(w.scatter[v]))
}

// road draws the one that a connection takes in one direction.
func (w *Wires) road() float64 { return rand.Float64() } //nolint:gosec // nobody must not guess it

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
			if w.await(way{caller, member}, way{member, caller}) == nil {
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
	both.Go(func() { w.carry(far, conn, way{caller, member}) })
	both.Go(func() { w.carry(conn, far, way{member, caller}) })
	both.Wait()
	w.drop(far)
}

// parcel is something that was said, and when it arrives.
type parcel struct {
	text []byte
	due  time.Time
}

// maxParcels is how many may be under way in a connection.
const maxParcels = 256

// carry brings what is said in one connection into another, in its order, until one of
// them is gone; then it closes both.
func (w *Wires) carry(to, from net.Conn, v way) {
	parcels := make(chan parcel, maxParcels)
	gone := make(chan struct{})
	var both sync.WaitGroup
	both.Go(func() {
		defer close(gone)
		defer func() { _, _ = to.Close(), from.Close() }()
		for p := range parcels {
			if !w.bring(to, p, v) {
				return
			}
		}
	})
	road := w.road()
	for {
		text := make([]byte, 32<<10)
		n, err := from.Read(text)
		if n > 0 {
			select {
			case parcels <- parcel{text[:n], time.Now().Add(w.lateness(v, road))}:
			case <-gone:
			}
		}
		if err != nil {
			break
		}
	}
	close(parcels)
	both.Wait()
}

// bring delivers one parcel when it is due and its way is open.
func (w *Wires) bring(to net.Conn, p parcel, v way) bool {
	if wait := time.Until(p.due); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-w.ctx.Done():
			return false
		}
	}
	if w.await(v) != nil {
		return false
	}
	_, err := to.Write(p.text)
	return err == nil
}
