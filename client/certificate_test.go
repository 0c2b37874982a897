package client

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/client/pki"
)

// A caller's certificate is shown, and one that was renewed is shown from the next
// connection on. No TLS below 1.3 is spoken.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	folder, err := pki.InitFolder(t.TempDir(), nil, time.Hour, time.Now())
	require.NoError(t, err)
	node, err := folder.IssueNode(pki.Node{Name: "n1", Hosts: []string{"127.0.0.1"}}, nil, time.Hour)
	require.NoError(t, err)
	alice, err := folder.IssueCaller(pki.Caller{Name: "alice", Role: "admin"}, time.Hour)
	require.NoError(t, err)
	pair, err := tls.LoadX509KeyPair(filepath.Join(node, "api.crt"), filepath.Join(node, "api.key"))
	require.NoError(t, err)
	ca, err := os.ReadFile(filepath.Join(node, "api-ca.crt"))
	require.NoError(t, err)
	callers := x509.NewCertPool()
	require.True(t, callers.AppendCertsFromPEM(ca))

	seen := make(chan *x509.Certificate, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.TLS.VerifiedChains[0][0]
		w.Header().Set("Connection", "close")
		_, _ = w.Write([]byte(`{"clusterId":"x","nodes":[]}`))
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: callers, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	config := Config{Servers: []string{server.URL}, CAFile: filepath.Join(node, "api-ca.crt"), CertFile: alice + ".crt", KeyFile: alice + ".key"}
	c, err := New(config)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	ask := func() *x509.Certificate {
		_, err := c.Cluster(t.Context())
		require.NoError(t, err)
		return <-seen
	}
	first := ask()
	require.Equal(t, "alice", first.Subject.CommonName)
	_, err = folder.IssueCaller(pki.Caller{Name: "alice", Role: "admin"}, time.Hour)
	require.NoError(t, err)
	require.NotEqual(t, first.SerialNumber, ask().SerialNumber)

	server.TLS.MaxVersion = tls.VersionTLS12
	old := httptest.NewUnstartedServer(server.Config.Handler)
	old.TLS = server.TLS.Clone()
	old.StartTLS()
	t.Cleanup(old.Close)
	config.Servers, config.RetryFor = []string{old.URL}, time.Millisecond
	c, err = New(config)
	require.NoError(t, err)
	_, err = c.Cluster(t.Context())
	require.ErrorContains(t, err, "protocol version")

	for name, spoil := range map[string]func(*Config){
		"no key":   func(c *Config) { c.KeyFile = "" },
		"no file":  func(c *Config) { c.CertFile = "/nonexistent" },
		"other":    func(c *Config) { c.KeyFile = filepath.Join(node, "api.key") },
		"no https": func(c *Config) { c.Servers = append(c.Servers, "http://127.0.0.1:1") },
	} {
		bad := config
		spoil(&bad)
		_, err := New(bad)
		require.Error(t, err, name)
	}
}
