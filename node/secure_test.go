package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/pki"
	"github.com/keysteward/keysteward/node/pki/pkitest"
)

// certified makes certificates as a member has them.
func certified(t *testing.T, ca *pkitest.Authority, hosts []string, changes ...pkitest.Change) *pki.Source {
	t.Helper()
	s, err := pki.Open(pki.Config{Port: "raft", Files: ca.Write(t, t.TempDir(), hosts, changes...)})
	require.NoError(t, err)
	return s
}

// secured is a link with a certificate for 127.0.0.1, where its founders are too.
func secured(t *testing.T, ca *pkitest.Authority) (*Link, *journal) {
	t.Helper()
	j := &journal{}
	k, err := ListenTLS(t.Context(), "127.0.0.1:0", "", Security{
		Certificates: certified(t, ca, []string{"127.0.0.1"}), Founders: []string{"n1.example:8300", "127.0.0.1:8300"}, Logger: logTo(j),
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = k.Close() })
	return k, j
}

// turnedAway is what a client reads when the server does not let it in.
func turnedAway(t *testing.T, k *Link, config *tls.Config) error {
	t.Helper()
	raw, err := new(net.Dialer).DialContext(t.Context(), "tcp", k.listener.Addr().String())
	require.NoError(t, err)
	c := tls.Client(raw, config)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	if err := c.HandshakeContext(t.Context()); err != nil {
		return err
	}
	_, _ = c.Write([]byte{protocolPeer})
	_, err = c.Read(make([]byte, 1))
	require.Error(t, err)
	return err
}

func TestMembersProveThemselves(t *testing.T) {
	t.Parallel()
	ca := pkitest.NewAuthority(t, "Raft CA")
	a, _ := secured(t, ca)
	b, _ := secured(t, ca)
	c, err := a.Dial(t.Context(), b.Advertised())
	require.NoError(t, err)
	defer c.Close()
	in, err := b.PeerListener().Accept()
	require.NoError(t, err)
	_, err = c.Write([]byte("x"))
	require.NoError(t, err)
	one := make([]byte, 1)
	_, err = io.ReadFull(in, one)
	require.NoError(t, err)
	require.Equal(t, "x", string(one))
	state := c.(*linkConn).Conn.(*tls.Conn).ConnectionState()
	require.EqualValues(t, tls.VersionTLS13, state.Version)
	require.Equal(t, alpnPeer, state.NegotiatedProtocol)

	require.NoError(t, SpeaksFor(in, "127.0.0.1:99"))
	require.ErrorIs(t, SpeaksFor(in, "n1.example:99"), ErrNotMember, "its certificate is for another host")
	require.ErrorIs(t, SpeaksFor(in, "nonsense"), ErrNotMember)
	require.ErrorIs(t, SpeaksFor(&net.TCPConn{}, "127.0.0.1:99"), ErrNotMember)
}

// Whoever accepts refuses these.
func TestHandshakesThatAreRefused(t *testing.T) {
	t.Parallel()
	ca, apiCA := pkitest.NewAuthority(t, "Raft CA"), pkitest.NewAuthority(t, "API CA")
	member := []string{"n1.example"}
	with := func(pair tls.Certificate) *tls.Config {
		return &tls.Config{
			Certificates: []tls.Certificate{pair}, RootCAs: ca.Pool(), ServerName: "127.0.0.1", NextProtos: []string{alpnPeer}, MinVersion: tls.VersionTLS12,
		}
	}
	good := with(ca.Pair(t, member))
	old, silent, foreign, none := good.Clone(), good.Clone(), good.Clone(), good.Clone()
	old.MaxVersion, silent.NextProtos, foreign.NextProtos, none.Certificates = tls.VersionTLS12, nil, []string{"h2", "http/1.1"}, nil
	raftAsPeer := good.Clone()
	raftAsPeer.NextProtos = []string{alpnRaft}
	intermediate := pkitest.NewAuthority(t, "Raft CA") // of the same name, and another key
	for name, c := range map[string]struct {
		config *tls.Config
		says   string
	}{
		"certificate of the API's CA": {with(apiCA.Pair(t, member, pkitest.Named("n1"))), "issued by CN=API CA, does not hold under the authorities of members"},
		"authority of the same name":  {with(intermediate.Pair(t, member)), "does not hold under the authorities"},
		"host of no member":           {with(ca.Pair(t, []string{"n9.example"})), "is for n9.example, and no member is there: n1.example:8300, 127.0.0.1:8300"},
		"no host":                     {with(ca.Pair(t, nil)), "is for no host"},
		"expired":                     {with(ca.Pair(t, member, pkitest.Expired)), "expired"},
		"not valid yet":               {with(ca.Pair(t, member, pkitest.Early)), "not yet valid"},
		"for servers only":            {with(ca.Pair(t, member, pkitest.Uses(x509.ExtKeyUsageServerAuth))), "incompatible key usage"},
		"TLS 1.2":                     {old, "unsupported versions"},
		"no certificate":              {none, "didn't provide a certificate"},
		"no protocol":                 {silent, "none of the protocols between members"},
		"a protocol of the API":       {foreign, "unsupported application protocols"},
		"hello of another protocol":   {raftAsPeer, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, j := secured(t, ca)
			require.Error(t, turnedAway(t, k, c.config))
			if c.says != "" {
				eventually(t, "the log says why", func() bool { return j.has(c.says) })
				require.True(t, j.has("a connection on the members' port was refused"))
				require.Equal(t, 1, testutil.CollectAndCount(k))
			}
		})
	}
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		k, j := secured(t, ca)
		closed(t, knock(t, k, "P\x00\x00\x00\x00\x00"))
		eventually(t, "the log says why", func() bool { return j.has("does not look like a TLS handshake") })
	})
	t.Run("nothing wrong", func(t *testing.T) { // or the others prove nothing
		t.Parallel()
		k, _ := secured(t, ca)
		c, err := (&tls.Dialer{Config: good}).DialContext(t.Context(), "tcp", k.listener.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		_, err = c.Write([]byte{protocolPeer})
		require.NoError(t, err)
		_, err = k.PeerListener().Accept()
		require.NoError(t, err)
	})
}

// Whoever dials refuses these.
func TestServersThatAreRefused(t *testing.T) {
	t.Parallel()
	ca := pkitest.NewAuthority(t, "Raft CA")
	here := []string{"127.0.0.1"}
	for name, c := range map[string]struct {
		pair   tls.Certificate
		max    uint16
		protos []string
		says   string
	}{
		"API's CA":       {pkitest.NewAuthority(t, "API CA").Pair(t, here), 0, []string{alpnPeer}, "unknown authority"},
		"other name":     {ca.Pair(t, []string{"n1.example", "127.0.0.2"}), 0, []string{alpnPeer}, "not 127.0.0.1"},
		"expired":        {ca.Pair(t, here, pkitest.Expired), 0, []string{alpnPeer}, "expired"},
		"not valid yet":  {ca.Pair(t, here, pkitest.Early), 0, []string{alpnPeer}, "not yet valid"},
		"client only":    {ca.Pair(t, here, pkitest.Uses(x509.ExtKeyUsageClientAuth)), 0, []string{alpnPeer}, "incompatible key usage"},
		"TLS 1.2":        {ca.Pair(t, here), tls.VersionTLS12, []string{alpnPeer}, "protocol version"},
		"other protocol": {ca.Pair(t, here), 0, []string{"h2"}, "no application protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
				Certificates: []tls.Certificate{c.pair}, MaxVersion: c.max, NextProtos: c.protos, ClientAuth: tls.RequireAnyClientCert,
			})
			require.NoError(t, err)
			done := make(chan struct{})
			go func() {
				defer close(done)
				if in, err := l.Accept(); err == nil {
					_ = in.(*tls.Conn).HandshakeContext(context.Background()) //nolint:usetesting // outlives the test for a moment
					_ = in.Close()
				}
			}()
			k, _ := secured(t, ca)
			_, err = k.Dial(t.Context(), l.Addr().String())
			require.ErrorContains(t, err, c.says)
			k.mu.Lock()
			require.Empty(t, k.open, "it was closed")
			k.mu.Unlock()
			require.NoError(t, l.Close())
			<-done
		})
	}
	k, _ := secured(t, ca)
	dead, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0") // never answers
	require.NoError(t, err)
	t.Cleanup(func() { _ = dead.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	t.Cleanup(cancel)
	_, err = k.Dial(ctx, dead.Addr().String())
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// Connections that never finish their handshake keep no member out.
func TestSilentHandshakes(t *testing.T) {
	t.Parallel()
	ca := pkitest.NewAuthority(t, "Raft CA")
	k, j := secured(t, ca)
	var silent []net.Conn
	for range 2 * maxPending {
		silent = append(silent, knock(t, k, "\x16\x03\x01"))
	}
	closed(t, silent[0])
	c, err := k.Dial(t.Context(), k.Advertised())
	require.NoError(t, err)
	defer c.Close()
	_, err = k.PeerListener().Accept()
	require.NoError(t, err)
	began := time.Now()
	require.NoError(t, k.Close())
	require.Less(t, time.Since(began), helloTimeout/2, "Close waits for handshakes")
	require.False(t, j.has("refused"), "a knock is no news")
}

// A flood of refused connections is told of a few times.
func TestRefusalsAreToldSeldom(t *testing.T) {
	t.Parallel()
	k, j := secured(t, pkitest.NewAuthority(t, "Raft CA"))
	for range 30 {
		closed(t, knock(t, k, "GET / HTTP/1.1\r\n\r\n"))
	}
	eventually(t, "all are counted", func() bool {
		return testutil.ToFloat64(k.guard.count.WithLabelValues("handshake")) == 30
	})
	j.mu.Lock()
	defer j.mu.Unlock()
	require.Less(t, len(j.buf.String())/len("a connection on the members' port was refused"), 60)
}

func TestListenTLSBeyondLoopback(t *testing.T) {
	t.Parallel()
	k, err := ListenTLS(t.Context(), "0.0.0.0:0", "n1.example:8300", Security{Certificates: certified(t, pkitest.NewAuthority(t, "Raft CA"), []string{"n1.example"})})
	require.NoError(t, err)
	require.Equal(t, "n1.example:8300", k.Advertised())
	_, err = k.Dial(t.Context(), "nonsense")
	require.Error(t, err)
	require.NoError(t, k.Close())
}

// Members lead, lose each other and find each other again under TLS, and those who
// are let in are the members and the founders of the flags.
func TestClusterUnderTLS(t *testing.T) {
	t.Parallel()
	ca := pkitest.NewAuthority(t, "Raft CA")
	var asked atomic.Bool
	c := newCluster(t, 3, func(m *member) {
		m.security = &Security{Certificates: certified(t, ca, []string{"127.0.0.1"}), Founders: []string{"127.0.0.1:1"}}
		m.cfg.Checks = func() []Check {
			asked.Store(true)
			return []Check{{Name: "tls-raft", Detail: "expired", OK: false}}
		}
	})
	l := c.leader()
	checks := l.Checks()
	require.True(t, asked.Load())
	require.Equal(t, "tls-raft", checks[len(checks)-1].Name)
	for _, m := range c.members {
		eventually(t, "the cluster's members are let in", func() bool {
			have := m.link.guard.addresses()
			return len(have) == 4 && !slices.ContainsFunc(c.members, func(o *member) bool { return !slices.Contains(have, o.address) })
		})
	}
	require.NoError(t, l.raft.Barrier(patience).Error())
	l.down()
	l.up()
	eventually(t, "a leader is there again", func() bool {
		for _, m := range c.members {
			if m.Status().IsLeader {
				return true
			}
		}
		return false
	})
}

// BenchmarkRoundTrip is what TLS adds to a round trip between members.
func BenchmarkRoundTrip(b *testing.B) {
	for name, secure := range map[string]bool{"plain": false, "tls": true} {
		b.Run(name, func(b *testing.B) {
			ca := pkitest.NewAuthority(b, "Raft CA")
			open := func() *Link {
				if !secure {
					k, err := Listen(b.Context(), "127.0.0.1:0", "")
					require.NoError(b, err)
					return k
				}
				s, err := pki.Open(pki.Config{Files: ca.Write(b, b.TempDir(), []string{"127.0.0.1"})})
				require.NoError(b, err)
				k, err := ListenTLS(b.Context(), "127.0.0.1:0", "", Security{Certificates: s, Founders: []string{"127.0.0.1:1"}})
				require.NoError(b, err)
				return k
			}
			from, to := open(), open()
			defer from.Close()
			defer to.Close()
			c, err := from.Dial(b.Context(), to.Advertised())
			require.NoError(b, err)
			in, err := to.PeerListener().Accept()
			require.NoError(b, err)
			go func() { _, _ = io.Copy(in, in) }()
			message := make([]byte, 256)
			for b.Loop() {
				if _, err := c.Write(message); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c, message); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
