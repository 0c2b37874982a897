package api

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/pki"
	"github.com/keysteward/keysteward/node/pki/pkitest"
)

// dial opens a connection that the test closes.
func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// gone waits until the server has closed the connection.
func gone(t *testing.T, c net.Conn) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	_, err := io.Copy(io.Discard, c)
	var timeout net.Error
	require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "still open")
}

func withConnections(n int) func(*Config) { return func(c *Config) { c.MaxConnections = n } }

// Ten thousand connections that say nothing take little memory and keep nobody out.
//
//nolint:paralleltest // it measures the memory of the process
func TestTenThousandIdleConnections(t *testing.T) {
	const limit, flood = 500, 10_000
	h := seeded(t, withConnections(limit))
	files := pkitest.NewAuthority(t, "API CA").Write(t, t.TempDir(), []string{"127.0.0.1"})
	source, err := pki.Open(pki.Config{Port: "api", Files: pki.Files{Cert: files.Cert, Key: files.Key}})
	require.NoError(t, err)
	address, end := serving(t, h, source.ServerConfig())
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)

	first := dial(t, address)
	var idle []net.Conn
	for range flood {
		idle = append(idle, dial(t, address))
	}
	gone(t, first) // the oldest makes room

	runtime.ReadMemStats(&after)
	grown := int64(after.HeapInuse+after.StackInuse) - int64(before.HeapInuse+before.StackInuse)
	t.Logf("%d connections: memory grew by %d KiB", flood, grown>>10)
	require.Less(t, grown, int64(128<<20))
	require.LessOrEqual(t, h.server.connections.count(), float64(limit))

	// A probe and a caller come in while they are there.
	roots := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: x509.NewCertPool()}
	pem, err := os.ReadFile(files.CA)
	require.NoError(t, err)
	require.True(t, roots.RootCAs.AppendCertsFromPEM(pem))
	transport := &http.Transport{TLSClientConfig: roots, DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	for _, path := range []string{"/livez", "/readyz", "/v1/cluster"} {
		require.Equal(t, http.StatusOK, status(t, client, "https://"+address+path, h.tokens[RoleViewer]))
	}
	for _, c := range idle {
		_ = c.Close()
	}
	require.Eventually(t, func() bool { return h.server.connections.count() == 0 }, 20*time.Second, time.Millisecond, "what ended is not counted")
	require.NoError(t, end())
}

// What was asked for is not pushed out; where all are busy a new one is refused.
func TestBusyConnectionsStay(t *testing.T) {
	t.Parallel()
	h := seeded(t, withConnections(3))
	address, end := serving(t, h, nil)
	transport := &http.Transport{DisableKeepAlives: true}
	client := &http.Client{Transport: transport}
	codes := make(chan int, 3)
	var running sync.WaitGroup
	hold := func(pod string) {
		r := newRequest(t, http.MethodPost, "http://"+address+"/v1/allocations?wait=60s", h.tokens[RoleAdmin],
			`{"namespace":"default","pod":"`+pod+`","podUid":"u-1","keys":1}`)
		running.Go(func() {
			w, err := client.Do(r)
			if err != nil {
				codes <- 0
				return
			}
			_ = w.Body.Close()
			codes <- w.StatusCode
		})
	}
	held := func(n int) {
		t.Helper()
		require.Eventually(t, func() bool { return h.server.holds.held() == n }, 20*time.Second, time.Millisecond)
	}
	hold("a")
	hold("b")
	held(2)
	idle := dial(t, address)
	for range 20 {
		dial(t, address)
	}
	gone(t, idle)
	require.Equal(t, 2, h.server.holds.held())
	hold("c") // in the place of an idle one
	held(3)
	gone(t, dial(t, address))
	closed := h.server.connections.closed
	require.NotZero(t, testutil.ToFloat64(closed.WithLabelValues(closedFull)))
	require.NotZero(t, testutil.ToFloat64(closed.WithLabelValues(closedIdle)))
	require.NoError(t, end())
	running.Wait()
	for range 3 {
		require.Equal(t, http.StatusAccepted, <-codes)
	}
	require.Zero(t, h.server.connections.count())
}

// A connection over HTTP/2 is busy as long as any of its requests is.
func TestStreamsKeepAConnection(t *testing.T) {
	t.Parallel()
	h := seeded(t, withConnections(1))
	ca := pkitest.NewAuthority(t, "API CA")
	address, end := serving(t, h, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{ca.Pair(t, []string{"127.0.0.1"})}})
	transport := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: ca.Pool()}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	proto := make(chan string, 1)
	r := newRequest(t, http.MethodPost, "https://"+address+"/v1/allocations?wait=60s", h.tokens[RoleAdmin], body(nil))
	go func() {
		defer close(proto)
		if w, err := client.Do(r); err == nil {
			_ = w.Body.Close()
			proto <- w.Proto
		}
	}()
	require.Eventually(t, func() bool { return h.server.holds.held() == 1 }, 20*time.Second, time.Millisecond)
	require.Equal(t, http.StatusOK, status(t, client, "https://"+address+"/livez", ""), "another stream begins and ends")
	gone(t, dial(t, address))
	require.Equal(t, 1, h.server.holds.held())
	require.NoError(t, end())
	require.Equal(t, "HTTP/2.0", <-proto)
}

// pipes is a listener whose connections are in memory, so that time can be faked.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// Whoever is slow is cut off in time, also while he goes on sending a little.
func TestSlowSendersAreCutOff(t *testing.T) {
	t.Parallel()
	post := "POST /v1/allocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\nAuthorization: Bearer %s\r\n\r\n"
	for name, c := range map[string]struct {
		head   func(*harness) string
		within time.Duration
		answer string // the first words of it; empty for none
	}{
		"headers":                    {func(*harness) string { return "GET /livez HTTP/1.1\r\nX-A: " }, headerTimeout, ""},
		"body":                       {func(h *harness) string { return fmt.Sprintf(post, h.tokens[RoleOperator]) }, bodyTimeout, "HTTP/1.1 4"},
		"body of one who is refused": {func(*harness) string { return fmt.Sprintf(post, "wrong") }, bodyTimeout, "HTTP/1.1 401"},
		"body that nobody wants": {func(h *harness) string {
			return strings.Replace(fmt.Sprintf(post, h.tokens[RoleOperator]), "POST /v1/allocations", "GET /v1/cluster", 1)
		}, bodyTimeout, "HTTP/1.1 200"},
		"chunks": {func(h *harness) string {
			return strings.Replace(fmt.Sprintf(post, h.tokens[RoleOperator]), "Content-Length: 1000", "Transfer-Encoding: chunked", 1) + "3e8\r\n"
		}, bodyTimeout, "HTTP/1.1 4"},
		"nothing at all": {nil, headerTimeout, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := seeded(t)
				ln := newPipes()
				ctx, cancel := context.WithCancel(t.Context())
				served := make(chan error, 1)
				go func() { served <- h.server.Serve(ctx, ln, nil) }()
				mine, theirs := net.Pipe()
				ln.conns <- theirs
				began := time.Now()
				answer := make(chan string, 1)
				go func() {
					line, _ := bufio.NewReader(mine).ReadString('\n')
					_, _ = io.Copy(io.Discard, mine)
					answer <- line
				}()
				if c.head != nil {
					_, err := io.WriteString(mine, c.head(h))
					require.NoError(t, err)
					for { // until the other side has gone
						if _, err := mine.Write([]byte("x")); err != nil {
							break
						}
						time.Sleep(time.Second) //nolint:forbidigo // in a bubble it takes no time
						require.Less(t, time.Since(began), 2*c.within, "still open")
					}
				}
				line := <-answer
				// net/http waits half a second for a client to hear why.
				require.LessOrEqual(t, time.Since(began), c.within+2*time.Second)
				if c.answer != "" {
					require.Contains(t, line, c.answer)
				}
				_ = mine.Close()
				cancel()
				require.NoError(t, <-served)
			})
		})
	}
}
