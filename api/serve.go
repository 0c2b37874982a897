package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// ErrPlainHTTP says that the API would be served without TLS beyond this machine.
var ErrPlainHTTP = errors.New("plain HTTP is for loopback addresses only")

const (
	headerTimeout = 10 * time.Second
	bodyTimeout   = 30 * time.Second
	// writeTimeout leaves a held request its wait and a slow reader a minute.
	writeTimeout = MaxWait + time.Minute
	idleTimeout  = 2 * time.Minute
	drainTimeout = 10 * time.Second

	maxHeaderBytes = 32 << 10

	// Of HTTP/2: requests that one connection may have open, and silence after which a
	// connection must prove that somebody is there.
	maxStreams  = 100
	pingAfter   = 30 * time.Second
	pingTimeout = 15 * time.Second
)

// Serve answers requests on the listener until ctx ends; it then wakes the
// requests that are held, lets those under way finish within 10 seconds, and
// closes what is left. It returns nil after such an end. A nil tlsConfig is
// plain HTTP, which is refused with [ErrPlainHTTP] beyond loopback; otherwise it is
// TLS 1.3. Serve closes the listener. At most MaxConnections of the
// [Config] are open at a time, of all calls together.
func (s *Server) Serve(ctx context.Context, ln net.Listener, tlsConfig *tls.Config) error {
	if tlsConfig == nil && !isLoopback(ln.Addr().String()) {
		_ = ln.Close()
		return fmt.Errorf("listen on %s: %w", ln.Addr(), ErrPlainHTTP)
	}
	server := &http.Server{
		Handler:           s.connections.watch(s.echo),
		ReadHeaderTimeout: headerTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams, SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		ConnContext:       s.connections.remember,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- listen(server, s.connections.listener(ln), tlsConfig) }()
	select {
	case err := <-served:
		s.stop()
		return fmt.Errorf("serve the API on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	s.drain(context.WithoutCancel(ctx), server)
	if err := <-served; err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the API on %s: %w", ln.Addr(), err)
	}
	return nil
}

func listen(server *http.Server, ln net.Listener, tlsConfig *tls.Config) error {
	if tlsConfig == nil {
		return server.Serve(ln) //nolint:wrapcheck // the caller names the address
	}
	server.TLSConfig = tlsConfig.Clone()
	server.TLSConfig.MinVersion = tls.VersionTLS13
	return server.ServeTLS(ln, "", "") //nolint:wrapcheck // the caller names the address
}

func (s *Server) drain(ctx context.Context, server *http.Server) {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	s.stop()
	if err := server.Shutdown(ctx); err != nil {
		s.log.Warn("requests were still under way when the API stopped", "error", err)
		_ = server.Close()
	}
}

// isLoopback tells whether host:port, or a host alone, is on this machine.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
