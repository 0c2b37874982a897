package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// Gate stands before a server that nodes need, such as a chain's JSON-RPC or an API server
// of Kubernetes, and can be shut. Close it. It is safe for concurrent use.
type Gate struct {
	address, target string

	ctx     context.Context // ends with the gate
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener // nil while connections are refused
	silent   bool
	moved    chan struct{} // closed when silent changes
	open     map[net.Conn]struct{}
}

// errGate says that a gate is not as the fault wants to find it.
var errGate = errors.New("the gate is shut already")

// NewGate listens at the address for connections to the target, both host:port; an
// address with the port 0 is told by Address.
func NewGate(ctx context.Context, address, target string) (*Gate, error) {
	g := &Gate{address: address, target: target, moved: make(chan struct{}), open: make(map[net.Conn]struct{})}
	g.ctx, g.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := g.listen(ctx); err != nil {
		return nil, err
	}
	return g, nil
}

// Address is where the gate is, host:port.
func (g *Gate) Address() string { return g.address }

// Close ends it and all connections through it.
func (g *Gate) Close() {
	g.cancel()
	g.refuse()
	g.running.Wait()
}

// Refuses has the server refuse connections, and break those that there are.
func (g *Gate) Refuses(server string) Fault {
	return New(server+" away", func(context.Context) (func(context.Context) error, error) {
		if !g.refuse() {
			return nil, errGate
		}
		return g.listen, nil
	})
}

// Hangs has the server say nothing any more, to those that are connected and to those who
// come.
func (g *Gate) Hangs(server string) Fault {
	return New(server+" silent", func(context.Context) (func(context.Context) error, error) {
		if !g.hush(true) {
			return nil, errGate
		}
		return func(context.Context) error { g.hush(false); return nil }, nil
	})
}

func (g *Gate) listen(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", g.address)
	if err != nil {
		return fmt.Errorf("gate to %s: %w", g.target, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ctx.Err() != nil {
		return l.Close() //nolint:wrapcheck // never fails
	}
	g.listener, g.address = l, l.Addr().String()
	g.running.Go(func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				g.running.Go(func() { g.pass(c) })
			}
		}
	})
	return nil
}

// refuse closes the listener and all connections; false if it was closed.
func (g *Gate) refuse() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener == nil {
		return false
	}
	_ = g.listener.Close()
	g.listener = nil
	for c := range g.open {
		_ = c.Close()
	}
	return true
}

// hush begins or ends the silence; false if that is no news.
func (g *Gate) hush(silent bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.silent == silent {
		return false
	}
	g.silent = silent
	close(g.moved)
	g.moved = make(chan struct{})
	return true
}

// speak waits until the server speaks.
func (g *Gate) speak() error {
	for {
		g.mu.Lock()
		silent, moved := g.silent, g.moved
		g.mu.Unlock()
		if !silent {
			return nil
		}
		select {
		case <-moved:
		case <-g.ctx.Done():
			return net.ErrClosed
		}
	}
}

// hold notes a connection; false if there is to be none any more.
func (g *Gate) hold(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener == nil {
		_ = c.Close()
		return false
	}
	g.open[c] = struct{}{}
	return true
}

func (g *Gate) drop(c net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, c)
	_ = c.Close()
}

func (g *Gate) pass(near net.Conn) {
	if !g.hold(near) {
		return
	}
	defer g.drop(near)
	far, err := (&net.Dialer{Timeout: time.Second}).DialContext(g.ctx, "tcp", g.target)
	if err != nil || !g.hold(far) {
		return // whoever came learns it by the end of the connection
	}
	defer g.drop(far)
	var both sync.WaitGroup
	carry := func(to, from net.Conn) {
		defer func() { _, _ = to.Close(), from.Close() }()
		_, _ = io.Copy(gated{to, g}, from)
	}
	both.Go(func() { carry(far, near) })
	both.Go(func() { carry(near, far) })
	both.Wait()
}

// gated writes only while the server speaks.
type gated struct {
	io.Writer

	gate *Gate
}

func (w gated) Write(b []byte) (int, error) {
	if err := w.gate.speak(); err != nil {
		return 0, err
	}
	return w.Writer.Write(b) //nolint:wrapcheck // a connection's
}

// ProgramSleeps stops a program beside the nodes, such as geth, in the middle of what it
// does (SIGSTOP).
func (s Stage) ProgramSleeps(name string) Fault {
	return New(name+" sleeps", func(context.Context) (func(context.Context) error, error) {
		heal := func(context.Context) error { return s.Nodes.SignalProgram(name, syscall.SIGCONT) } //nolint:wrapcheck // New says what
		return heal, s.Nodes.SignalProgram(name, syscall.SIGSTOP)                                   //nolint:wrapcheck // New says what
	})
}
