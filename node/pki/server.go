package pki

import (
	"crypto/tls"

	"github.com/keysteward/keysteward/node/failpoint"
)

// ServerConfig is for an HTTPS server: TLS 1.3 (RFC 8446), and, with authorities,
// certificates of clients, which are verified where one is given: what the handler
// finds in VerifiedChains is proven. Tickets are off, so that a client whose
// authority was taken away is not let in by an earlier handshake.
func (s *Source) ServerConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return s.serverConfig(), nil
		},
	}
}

func (s *Source) serverConfig() *tls.Config {
	m := s.Current()
	if c := s.server.Load(); c != nil {
		return c
	}
	c := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Time:                   failpoint.Now,
		Certificates:           []tls.Certificate{m.Certificate},
		NextProtos:             []string{"h2", "http/1.1"},
		SessionTicketsDisabled: true,
	}
	if m.Authorities != nil {
		c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, m.Authorities
	}
	// Not kept if it was made of files that were replaced meanwhile.
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.Load() == m {
		s.server.Store(c)
	}
	return c
}
