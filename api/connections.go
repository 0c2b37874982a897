package api

import (
	"container/list"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// DefaultMaxConnections is how many connections a server keeps open.
const DefaultMaxConnections = 4096

// connections bounds how many connections are open. A connection is idle unless a
// request on it has arrived whole and waits for its answer: one that shakes hands,
// sends its headers or body, or sends nothing, can go. So callers who only take up
// room are pushed out by those who ask for something.
type connections struct {
	limit  int
	closed *prometheus.CounterVec // by reason

	mu   sync.Mutex
	open int
	idle *list.List // of *conn, the one that was idle for longest first
}

// Reasons why connections were closed.
const (
	closedIdle = "idle"    // for another one
	closedFull = "refused" // because none was idle
)

func newConnections(limit int) *connections {
	c := &connections{limit: limit, idle: list.New(), closed: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keysteward_http_connections_closed_total",
		Help: "Connections that were closed because there were too many: idle for another one, refused because none was idle.",
	}, []string{"reason"})}
	c.closed.WithLabelValues(closedIdle)
	c.closed.WithLabelValues(closedFull)
	return c
}

func (c *connections) count() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return float64(c.open)
}

// listener returns one whose connections are counted.
func (c *connections) listener(inner net.Listener) net.Listener {
	return &boundedListener{Listener: inner, connections: c}
}

type boundedListener struct {
	net.Listener
	connections *connections
}

// Accept implements net.Listener.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			return nil, err //nolint:wrapcheck // net/http looks at it
		}
		if admitted := l.connections.admit(accepted); admitted != nil {
			return admitted, nil
		}
	}
}

// admit takes a connection in, in the place of an idle one if there is no other, or
// closes it and returns nil.
func (c *connections) admit(raw net.Conn) *conn {
	c.mu.Lock()
	var victim *conn
	if c.open >= c.limit {
		front := c.idle.Front()
		if front == nil {
			c.mu.Unlock()
			c.closed.WithLabelValues(closedFull).Inc()
			_ = raw.Close()
			return nil
		}
		victim = front.Value.(*conn)
		victim.forget()
	}
	admitted := &conn{Conn: raw, all: c}
	admitted.place = c.idle.PushBack(admitted)
	c.open++
	c.mu.Unlock()
	if victim != nil {
		c.closed.WithLabelValues(closedIdle).Inc()
		_ = victim.Conn.Close()
	}
	return admitted
}

// conn is a connection that is counted.
type conn struct {
	net.Conn
	all *connections

	// The rest is guarded by all.mu.
	gone  bool
	busy  int           // requests that have arrived whole and are not answered
	place *list.Element // in all.idle; nil while busy
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.all.mu.Lock()
	c.forget()
	c.all.mu.Unlock()
	return c.Conn.Close() //nolint:wrapcheck // the connection itself
}

func (c *conn) forget() {
	if c.gone {
		return
	}
	c.gone = true
	c.all.open--
	if c.place != nil {
		c.all.idle.Remove(c.place)
		c.place = nil
	}
}

// work notes that a request has arrived whole, or (-1) was answered.
func (c *conn) work(change int) {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	c.busy += change
	switch {
	case c.gone:
	case c.busy > 0 && c.place != nil:
		c.all.idle.Remove(c.place)
		c.place = nil
	case c.busy == 0 && c.place == nil:
		c.place = c.all.idle.PushBack(c)
	}
}

// connKey is where a request's context has its conn.
type connKey struct{}

// remember is for http.Server.ConnContext.
func (c *connections) remember(ctx context.Context, nc net.Conn) context.Context {
	if wrapped, ok := nc.(interface{ NetConn() net.Conn }); ok { // TLS
		nc = wrapped.NetConn()
	}
	if counted, ok := nc.(*conn); ok {
		return context.WithValue(ctx, connKey{}, counted)
	}
	return ctx
}

// watch keeps track of what connections are busy with, and bounds the time that a
// body takes. A handler that reads its body takes the bound back when it has it;
// where one does not read it, such as for a caller who is refused, the bound is for
// the rest that net/http reads to keep the connection.
func (c *connections) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		counted, _ := r.Context().Value(connKey{}).(*conn)
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
		}
		if counted == nil {
			next.ServeHTTP(w, r)
			return
		}
		a := &arrival{ReadCloser: r.Body, conn: counted}
		defer a.answered()
		if r.ContentLength == 0 {
			a.arrived()
		}
		r.Body = a
		next.ServeHTTP(w, r)
	})
}

// arrival is a body that tells when it has been read.
type arrival struct {
	io.ReadCloser
	conn *conn

	mu    sync.Mutex // a body may be read by another goroutine than the handler's
	whole bool
	over  bool
}

// Read implements io.Reader.
func (a *arrival) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if err == io.EOF {
		a.arrived()
	}
	return n, err //nolint:wrapcheck // as io.Reader promises it
}

func (a *arrival) arrived() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.whole && !a.over {
		a.whole = true
		a.conn.work(1)
	}
}

func (a *arrival) answered() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	if a.whole {
		a.conn.work(-1)
	}
}
