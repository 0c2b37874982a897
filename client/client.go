package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"
)

// Client talks to one cluster. It is safe for concurrent use. Close it.
type Client struct {
	config  Config
	servers []*url.URL // as configured, in their order
	// transport, unlike an http.Client, knows no redirects, cookies or referrers.
	transport *http.Transport

	mu      sync.Mutex
	members []*url.URL      // as one of the servers named them
	leader  *url.URL        // who answered last; nil if it failed since
	cluster string          // the ID of the cluster, once known
	fences  map[podID]int64 // the highest fence seen of an allocation
}

// podID names an allocation in all its parts.
type podID struct{ namespace, pod, uid string }

// New checks a configuration and returns a client. Nothing is sent yet. Errors
// wrap ErrServer or ErrToken where they concern these.
func New(config Config) (*Client, error) {
	c := &Client{config: config.complete(), fences: map[podID]int64{}}
	if len(config.Servers) == 0 {
		return nil, fmt.Errorf("%w: there is none", ErrServer)
	}
	for _, text := range config.Servers {
		server, err := parseServer(text)
		if err != nil {
			return nil, err
		}
		c.servers = append(c.servers, server)
	}
	if config.Token != "" && config.TokenFile != "" {
		return nil, fmt.Errorf("%w: there is one, and a file with one", ErrToken)
	}
	if err := config.Token.check(); err != nil {
		return nil, err
	}
	if err := c.checkCertificate(); err != nil {
		return nil, err
	}
	transport, err := newTransport(c.config)
	if err != nil {
		return nil, err
	}
	c.transport = transport
	return c, nil
}

// Close closes idle connections. Calls that run go on.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// newTransport speaks TLS 1.3 to whom the authorities vouch for, and uses no proxy:
// whom keys are fetched from is nobody else's business.
func newTransport(config Config) (*http.Transport, error) {
	roots, err := readRoots(config.CAFile)
	if err != nil {
		return nil, err
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots}
	if config.CertFile != "" {
		secure.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := readCertificate(config.CertFile, config.KeyFile)
			return &pair, err
		}
	}
	dialer := &net.Dialer{Timeout: config.DialTimeout, KeepAlive: 15 * time.Second}
	return &http.Transport{
		DialContext:         dialer.DialContext,
		TLSClientConfig:     secure,
		TLSHandshakeTimeout: config.DialTimeout,
		ForceAttemptHTTP2:   true,
		// A server that vanished without a word is noticed while it holds a request.
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second},
		MaxIdleConnsPerHost:    64,
		ExpectContinueTimeout:  5 * time.Second,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 64 << 10,
	}, nil
}

// readRoots returns nil, the system's roots, for no file.
func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // nil is what crypto/tls takes for the system's
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read certificate authorities: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read certificate authorities: %w", errors.New(file+" holds no PEM certificate"))
	}
	return roots, nil
}
