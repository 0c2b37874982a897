package api

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/seal"
)

// serving starts the server on loopback; end stops it and returns what Serve did.
func serving(t *testing.T, h *harness, config *tls.Config) (address string, end func() error) {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.server.Serve(ctx, ln, config) }()
	end = func() error {
		cancel()
		return <-done
	}
	return ln.Addr().String(), end
}

func newRequest(t *testing.T, method, url, token, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	return r
}

// status sends a GET and returns the answer's.
func status(t *testing.T, client *http.Client, url, token string) int {
	t.Helper()
	w, err := client.Do(newRequest(t, http.MethodGet, url, token, ""))
	require.NoError(t, err)
	require.NoError(t, w.Body.Close())
	return w.StatusCode
}

func TestServeDrains(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	address, end := serving(t, h, nil)
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	r := newRequest(t, http.MethodPost, "http://"+address+"/v1/allocations?wait=60s", h.tokens[RoleAdmin], body(nil))
	code := make(chan int, 1)
	go func() {
		defer close(code)
		if w, err := client.Do(r); err == nil {
			code <- w.StatusCode
			_ = w.Body.Close()
		}
	}()
	require.Eventually(t, func() bool { return h.server.holds.held() == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, end())
	require.Equal(t, http.StatusAccepted, <-code, "the held request got its answer")
	_, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	require.Error(t, err, "nobody listens any more")
}

func TestServeTLS(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	model := httptest.NewTLSServer(nil) // lends its certificate
	model.Close()
	address, end := serving(t, h, &tls.Config{Certificates: model.TLS.Certificates, MinVersion: tls.VersionTLS12})
	transport := model.Client().Transport.(*http.Transport).Clone()
	client := &http.Client{Transport: transport}
	require.Equal(t, http.StatusOK, status(t, client, "https://"+address+"/v1/cluster", h.tokens[RoleViewer]))
	transport.CloseIdleConnections()

	transport.TLSClientConfig.MaxVersion = tls.VersionTLS12
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/livez", http.NoBody)
	require.NoError(t, err)
	_, err = client.Do(r) //nolint:bodyclose // it fails
	require.ErrorContains(t, err, "protocol version")
	require.NoError(t, end())
}

func TestPlainHTTPIsForLoopbackOnly(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "0.0.0.0:0")
	require.NoError(t, err)
	require.ErrorIs(t, h.server.Serve(t.Context(), ln, nil), ErrPlainHTTP)
	_, err = ln.Accept()
	require.Error(t, err, "the listener is closed")
}

func TestServeTellsWhyItEnded(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	err := h.server.Serve(t.Context(), brokenListener{}, nil)
	require.ErrorContains(t, err, "out of files")
}

type brokenListener struct{}

func (brokenListener) Accept() (net.Conn, error) { return nil, errors.New("out of files") }
func (brokenListener) Close() error              { return nil }
func (brokenListener) Addr() net.Addr            { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func TestLargeHeadersAreRefused(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	address, end := serving(t, h, nil)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge,
		status(t, client, "http://"+address+"/livez", strings.Repeat("x", 64<<10)))
	require.NoError(t, end())
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	t.Parallel()
	n := newFakeNode()
	good := Config{Node: n, Vault: &fakeVault{node: n}, Seal: seal.NewVault(nil), Clouds: &fakeClouds{}, Tokens: &Tokens{}, Witness: WitnessNone}
	_, err := New(good)
	require.NoError(t, err)
	for name, change := range map[string]func(*Config){
		"no node":          func(c *Config) { c.Node = nil },
		"no vault":         func(c *Config) { c.Vault = nil },
		"no clouds":        func(c *Config) { c.Clouds = nil },
		"no witness":       func(c *Config) { c.Witness = "" },
		"unknown witness":  func(c *Config) { c.Witness = "oracle" },
		"negative rest":    func(c *Config) { c.RestAfterProof = -1 },
		"negative keys":    func(c *Config) { c.MaxKeysPerPod = -1 },
		"too many per pod": func(c *Config) { c.MaxKeysPerPod = 100_001 },
	} {
		cfg := good
		change(&cfg)
		_, err := New(cfg)
		require.ErrorIs(t, err, ErrConfig, name)
	}
}
