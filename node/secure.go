package node

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/keysteward/keysteward/node/failpoint"
	"github.com/keysteward/keysteward/node/pki"
)

// Names of the protocols between members (ALPN, RFC 7301). Who asks for none of
// them has come to the wrong port.
const (
	alpnRaft = "keysteward-raft/1"
	alpnPeer = "keysteward-peer/1"
)

func alpnOf(protocol byte) string {
	if protocol == protocolRaft {
		return alpnRaft
	}
	return alpnPeer
}

// Security is how members prove themselves to each other: TLS 1.3 with
// certificates on both sides, under an authority that vouches for members only.
type Security struct {
	// Certificates are this node's, and the authorities of members.
	Certificates *pki.Source
	// Founders are the addresses, host:port, of those who may connect beside the
	// members of the cluster: one that lost its disk is no member until it is let in.
	Founders []string
	// Others tells hosts at which further members may be; nil for none. A node that
	// was away may be led by one of which it has not heard.
	Others func(host string) bool
	Logger *slog.Logger
}

// ErrNotMember says that whoever is at the other end of a connection did not prove
// to be who it has to be.
var ErrNotMember = errors.New("not proven to be a member")

// guard decides who may connect, on the side that accepts and on the one that dials.
type guard struct {
	Security
	config  *tls.Config // of the accepting side
	refused *rate.Limiter
	count   *prometheus.CounterVec

	mu      sync.Mutex
	members func() []string // host:port of the cluster's members; nil before there is a node
}

func newGuard(s Security) *guard {
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	g := &guard{Security: s, refused: rate.NewLimiter(rate.Every(10*time.Second), 6)}
	g.count = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keysteward_member_connections_refused_total",
		Help: "Connections on the members' port that were refused, by reason: certificate, handshake.",
	}, []string{"reason"})
	g.config = &tls.Config{
		MinVersion: tls.VersionTLS13,
		Time:       failpoint.Now,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &g.Certificates.Current().Certificate, nil
		},
		// Any, and then verified below: so a log line can tell whose it was. Tickets
		// would let somebody in by what was proven before authorities changed.
		ClientAuth:             tls.RequireAnyClientCert,
		VerifyConnection:       g.admits,
		SessionTicketsDisabled: true,
		NextProtos:             []string{alpnRaft, alpnPeer},
	}
	return g
}

// admits is the accepting side's decision: the certificate is by the members'
// authority, for clients, in its time, and for the host of a member.
func (g *guard) admits(s tls.ConnectionState) error {
	if s.NegotiatedProtocol == "" { // a client that names no protocol is not refused by itself
		return fmt.Errorf("%w: it asked for none of the protocols between members", ErrNotMember)
	}
	leaf := s.PeerCertificates[0]
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: g.Certificates.Current().Authorities, Intermediates: between,
		CurrentTime: failpoint.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return fmt.Errorf("%w: the certificate of %s, issued by %s, does not hold under the authorities of members: %w", ErrNotMember, leaf.Subject, leaf.Issuer, err)
	}
	addresses := g.addresses()
	if !slices.ContainsFunc(addresses, func(a string) bool { return validFor(leaf, a) == nil }) && !g.admitsOther(leaf) {
		return fmt.Errorf("%w: the certificate of %s is for %s, and no member is there: %s",
			ErrNotMember, leaf.Subject, strings.Join(namesOf(leaf), ", "), strings.Join(addresses, ", "))
	}
	return nil
}

// admitsOther tells whether a certificate is for a host at which there may be a member.
func (g *guard) admitsOther(leaf *x509.Certificate) bool {
	return g.Others != nil && slices.ContainsFunc(namesOf(leaf), g.Others)
}

// addresses are those of the cluster's members and of those who are to found it.
func (g *guard) addresses() []string {
	g.mu.Lock()
	members := g.members
	g.mu.Unlock()
	list := slices.Clone(g.Founders)
	if members != nil {
		for _, a := range members() {
			if !slices.Contains(list, a) {
				list = append(list, a)
			}
		}
	}
	return list
}

func (g *guard) follow(members func() []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members = members
}

// dialing is the dialing side's configuration: the certificate must be for the
// host of the very address that is dialled.
func (g *guard) dialing(address string, protocol byte) (*tls.Config, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address of a member: %w", err)
	}
	m := g.Certificates.Current()
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		Time:       failpoint.Now,
		ServerName: host,
		RootCAs:    m.Authorities,
		NextProtos: []string{alpnOf(protocol)},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &m.Certificate, nil
		},
	}, nil
}

// report tells about a connection that was refused. A knock that says nothing is no
// news: load balancers do it.
func (g *guard) report(remote net.Addr, err error) {
	why := "handshake"
	if errors.Is(err, ErrNotMember) {
		why = "certificate"
	}
	g.count.WithLabelValues(why).Inc()
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ECONNRESET) {
		g.Logger.Debug("a connection of a member did not come about", "from", remote, "reason", err)
		return
	}
	if g.refused.Allow() {
		g.Logger.Warn("a connection on the members' port was refused", "from", remote, "reason", err)
	}
}

// validFor checks a certificate against the host of an address.
func validFor(leaf *x509.Certificate, address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("address of a member: %w", err)
	}
	return leaf.VerifyHostname(host) //nolint:wrapcheck // the caller wraps
}

func namesOf(c *x509.Certificate) []string {
	list := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		list = append(list, ip.String())
	}
	if len(list) == 0 {
		return []string{"no host"}
	}
	return list
}

// SpeaksFor tells whether whoever is at the other end of a connection that
// [Link.PeerListener] accepted has proven to be the member at the address. It wraps
// [ErrNotMember] if not. On loopback without TLS nobody proves anything, and nil is
// returned for all.
func SpeaksFor(conn net.Conn, address string) error {
	c, ok := conn.(*linkConn)
	if !ok {
		return fmt.Errorf("%w: the connection is none between members", ErrNotMember)
	}
	secured, ok := c.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	if err := validFor(secured.ConnectionState().PeerCertificates[0], address); err != nil {
		return fmt.Errorf("%w at %s: %w", ErrNotMember, address, err)
	}
	return nil
}
