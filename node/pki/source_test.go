package pki_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keysteward/keysteward/node/pki"
	"github.com/keysteward/keysteward/node/pki/pkitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a wall clock that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

var hosts = []string{"n1.example", "127.0.0.1"}

// bench is a source of files that a test replaces.
type bench struct {
	*testing.T
	dir       string
	authority *pkitest.Authority
	files     pki.Files
	clock     *clock
	log       *bytes.Buffer
	source    *pki.Source
}

func newBench(t *testing.T, changes ...pkitest.Change) *bench {
	t.Helper()
	b := &bench{T: t, dir: t.TempDir(), authority: pkitest.NewAuthority(t, "Raft CA"), clock: &clock{now: time.Now()}, log: new(bytes.Buffer)}
	b.files = b.authority.Write(t, b.dir, hosts, changes...)
	var err error
	b.source, err = pki.Open(b.config())
	require.NoError(t, err)
	return b
}

func (b *bench) config() pki.Config {
	return pki.Config{
		Port: "raft", Files: b.files, Mutual: true, Host: "n1.example", Now: b.clock.read,
		Logger: slog.New(slog.NewTextHandler(b.log, nil)),
	}
}

// serial is that of the certificate that a connection would use a second later.
func (b *bench) serial() string {
	b.Helper()
	b.clock.forward(time.Second)
	return b.source.Current().Certificate.Leaf.SerialNumber.String()
}

func (b *bench) state(wantOK bool, says string) {
	b.Helper()
	detail, ok := b.source.State()
	require.Equal(b, wantOK, ok, detail)
	require.Contains(b, detail, says)
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	stranger := pkitest.NewAuthority(t, "API CA")
	for name, c := range map[string]struct {
		spoil func(*bench)
		says  string
	}{
		"missing certificate": {func(b *bench) { require.NoError(b, os.Remove(b.files.Cert)) }, "tls.crt"},
		"missing key":         {func(b *bench) { require.NoError(b, os.Remove(b.files.Key)) }, "tls.key"},
		"missing authority":   {func(b *bench) { require.NoError(b, os.Remove(b.files.CA)) }, "ca.crt"},
		"key for everybody":   {func(b *bench) { require.NoError(b, os.Chmod(b.files.Key, 0o644)) }, "lets everybody in"},
		"folder":              {func(b *bench) { b.files.Cert = b.dir }, "not a regular file"},
		"huge":                {func(b *bench) { pkitest.Replace(b, b.files.CA, make([]byte, 2<<20)) }, "more than"},
		"garbage":             {func(b *bench) { pkitest.Replace(b, b.files.Cert, []byte("x")) }, "tls.crt"},
		"authorities, garbage": {func(b *bench) {
			pkitest.Replace(b, b.files.CA, append(b.authority.PEM(), []byte("-----BEGIN CERTIFICATE-----\nAAAA")...))
		}, "a broken one"},
		"authorities with a key": {func(b *bench) {
			_, key := b.authority.Issue(b, hosts)
			pkitest.Replace(b, b.files.CA, append(b.authority.PEM(), key...))
		}, "PRIVATE KEY"},
		"authority that is none": {func(b *bench) {
			certificate, _ := b.authority.Issue(b, hosts)
			pkitest.Replace(b, b.files.CA, certificate)
		}, "not that of an authority"},
		"key of another certificate": {func(b *bench) {
			_, key := b.authority.Issue(b, hosts)
			pkitest.Replace(b, b.files.Key, key)
		}, "private key does not match"},
		"other authority":  {func(b *bench) { stranger.Write(b, b.dir, hosts); pkitest.Replace(b, b.files.CA, b.authority.PEM()) }, "(issued by CN=API CA) is not by the authorities in"},
		"for another host": {func(b *bench) { b.authority.Write(b, b.dir, []string{"n2.example"}) }, "is not for n1.example"},
		"for servers only": {func(b *bench) { b.authority.Write(b, b.dir, hosts, pkitest.Uses(x509.ExtKeyUsageServerAuth)) }, "does not allow to be a client"},
		"for clients only": {func(b *bench) { b.authority.Write(b, b.dir, hosts, pkitest.Uses(x509.ExtKeyUsageClientAuth)) }, "does not allow to be a server"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c.spoil(b)
			_, err := pki.Open(b.config())
			require.ErrorIs(t, err, pki.ErrFiles)
			require.ErrorContains(t, err, c.says)

			if b.files.Cert == b.dir {
				return
			}
			// What can not be opened does not replace what is open either.
			before := b.source.Current().Certificate.Leaf.SerialNumber.String()
			require.Equal(t, before, b.serial())
			b.state(true, c.says)
		})
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first := b.serial()
	b.state(true, "valid until")

	// The certificate is there before its key.
	certificate, key := b.authority.Issue(t, hosts)
	pkitest.Replace(t, b.files.Cert, certificate)
	require.Equal(t, first, b.serial(), "half of a rotation is not taken")
	b.state(true, "not-replaced")
	require.Equal(t, 1, failing(t, b.source))
	pkitest.Replace(t, b.files.Key, key)
	second := b.serial()
	require.NotEqual(t, first, second)
	b.state(true, "valid until")
	require.Zero(t, failing(t, b.source))
	require.Contains(t, b.log.String(), "certificates were replaced")

	// A mounted secret is a link to a folder that is exchanged; nothing is looked at
	// twice within a second.
	b.authority.Write(t, b.dir, hosts)
	require.Equal(t, second, b.source.Current().Certificate.Leaf.SerialNumber.String())
	third := b.serial()
	require.NotEqual(t, second, third)

	// A clock that was set back does not end the looking.
	b.authority.Write(t, b.dir, hosts)
	b.clock.forward(-time.Hour)
	require.NotEqual(t, third, b.source.Current().Certificate.Leaf.SerialNumber.String())
}

func failing(t *testing.T, s *pki.Source) int {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(s))
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == "keysteward_tls_reload_failing" {
			return int(f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	require.Fail(t, "no such metric")
	return 0
}

func TestNotBetterIsNotTaken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change pkitest.Change
		says   string
	}{
		"expired":   {pkitest.Expired, "expired at"},
		"not valid": {pkitest.Early, "is it right?"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			first := b.serial()
			b.authority.Write(t, b.dir, hosts, c.change)
			require.Equal(t, first, b.serial())
			b.state(true, c.says)
		})
	}
	t.Run("until its time comes", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		first := b.serial()
		b.authority.Write(t, b.dir, hosts, pkitest.Early)
		require.Equal(t, first, b.serial())
		b.clock.forward(time.Hour + time.Minute)
		require.NotEqual(t, first, b.serial(), "it is tried again")
		b.state(true, "valid until")
	})
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	run := func(d time.Duration) string {
		b.log.Reset()
		b.clock.forward(d)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); b.source.Run(ctx) }()
		// Run tells within a second or, if there is nothing to tell, not at all.
		deadline := time.Now().Add(1500 * time.Millisecond)
		require.Eventually(t, func() bool { return time.Now().After(deadline) }, 10*time.Second, 10*time.Millisecond)
		cancel()
		<-done
		return b.log.String()
	}
	require.Empty(t, run(0))
	require.Contains(t, run(490*time.Hour), "expires-soon")
	b.state(true, "expires-soon")
	require.Empty(t, run(time.Hour), "it is not repeated all the time")
	require.Contains(t, run(20*time.Hour), "level=ERROR")
	b.state(false, "expired at")
	b.authority.Write(t, b.dir, hosts, pkitest.Until(b.clock.read().Add(900*time.Hour)))
	require.Contains(t, run(time.Second), "well again")
	b.state(true, "valid until")
}

// What expired while the node was down is taken: it will be replaced while it runs.
func TestOpenExpired(t *testing.T) {
	t.Parallel()
	b := newBench(t, pkitest.Expired)
	b.state(false, "expired at")
	require.Contains(t, b.log.String(), "level=ERROR")
	b.authority.Write(t, b.dir, hosts)
	b.serial()
	b.state(true, "valid until")
	b = newBench(t, pkitest.Early)
	b.state(false, "not-valid-yet")

	// An authority in its time is enough.
	b = newBench(t)
	pkitest.Replace(t, b.files.CA, append(pkitest.NewAuthority(t, "old", pkitest.Expired).PEM(), b.authority.PEM()...))
	b.serial()
	b.state(true, "valid until")
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(b.source))
	n, err := testutil.GatherAndCount(registry, "keysteward_tls_certificate_expiry_timestamp_seconds")
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP keysteward_tls_certificates_valid 1 while the certificates of the port are valid by this machine's clock.
# TYPE keysteward_tls_certificates_valid gauge
keysteward_tls_certificates_valid{port="raft"} 1
# HELP keysteward_tls_reloads_total How often certificates were replaced while the node ran.
# TYPE keysteward_tls_reloads_total counter
keysteward_tls_reloads_total{port="raft"} 0
`), "keysteward_tls_certificates_valid", "keysteward_tls_reloads_total"))
}

func TestShared(t *testing.T) {
	t.Parallel()
	a, b := newBench(t), newBench(t)
	require.Nil(t, a.source.Shared(b.source))
	require.NotNil(t, a.source.Shared(a.source))
}

// handshake connects two sides; err is the server's.
func handshake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c := tls.Client(b, client)
		if c.HandshakeContext(t.Context()) == nil {
			_, _ = c.Read(make([]byte, 1))
		}
		_ = b.Close()
	}()
	s := tls.Server(a, server)
	err := s.HandshakeContext(t.Context())
	state := s.ConnectionState()
	_ = a.Close()
	<-done
	return state, err
}

func TestServerConfig(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	config := b.source.ServerConfig()
	client := func(changes ...pkitest.Change) *tls.Config {
		return &tls.Config{
			RootCAs: b.authority.Pool(), ServerName: "n1.example", NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12,
			Certificates: []tls.Certificate{b.authority.Pair(t, nil, changes...)},
		}
	}
	none := client()
	none.Certificates = nil
	state, err := handshake(t, config, none)
	require.NoError(t, err, "a certificate is not required")
	require.Empty(t, state.VerifiedChains)
	require.Equal(t, "h2", state.NegotiatedProtocol)

	state, err = handshake(t, config, client(pkitest.Named("alice", "keysteward:admin")))
	require.NoError(t, err)
	require.Equal(t, "alice", state.VerifiedChains[0][0].Subject.CommonName)

	old := client()
	old.MaxVersion = tls.VersionTLS12
	stranger := client()
	stranger.Certificates = []tls.Certificate{pkitest.NewAuthority(t, "stranger").Pair(t, nil)}
	// A client is told which authorities count and would keep this one back.
	stranger.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &stranger.Certificates[0], nil }
	for name, bad := range map[string]*tls.Config{
		"TLS 1.2": old, "other authority": stranger,
		"expired": client(pkitest.Expired), "early": client(pkitest.Early),
		"for servers": client(pkitest.Uses(x509.ExtKeyUsageServerAuth)),
	} {
		_, err = handshake(t, config, bad)
		require.Error(t, err, name)
	}

	// New files are in the very next handshake, the authorities too.
	other := pkitest.NewAuthority(t, "new")
	other.Write(t, b.dir, hosts)
	b.clock.forward(time.Second)
	stranger.RootCAs = other.Pool()
	stranger.Certificates = []tls.Certificate{other.Pair(t, nil)}
	_, err = handshake(t, config, stranger)
	require.NoError(t, err)
	again := client()
	again.RootCAs = other.Pool()
	again.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &again.Certificates[0], nil }
	_, err = handshake(t, config, again)
	require.Error(t, err, "the authority was taken away")
}
