package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/keysteward/keysteward/cluster"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/pki"
)

// tlsOptions are the flags about certificates: of the API, and of the port between
// members.
type tlsOptions struct {
	api, raft pki.Files
}

func (t *tlsOptions) bind(f *pflag.FlagSet) {
	f.StringVar(&t.api.Cert, "tls-cert", "", "certificate chain of the API, PEM; all files of TLS are read again when they are replaced")
	f.StringVar(&t.api.Key, "tls-key", "", "private key of --tls-cert, PEM; not for others to read")
	f.StringVar(&t.api.CA, "tls-client-ca", "", "authorities that vouch for callers with a certificate, PEM; without it callers have tokens alone")
	f.StringVar(&t.raft.Cert, "raft-tls-cert", "", "certificate chain for the other members, PEM; for servers and clients, and for the host of --advertise-raft")
	f.StringVar(&t.raft.Key, "raft-tls-key", "", "private key of --raft-tls-cert, PEM; not for others to read")
	f.StringVar(&t.raft.CA, "raft-tls-ca", "", "authorities that vouch for members and for nobody else, PEM")
}

// check finds flags that do not go together.
func (t *tlsOptions) check(o *serverOptions) error {
	raft := 0
	for _, path := range []string{t.raft.Cert, t.raft.Key, t.raft.CA} {
		if path != "" {
			raft++
		}
	}
	switch {
	case (t.api.Cert == "") != (t.api.Key == ""):
		return errors.New("--tls-cert and --tls-key go together")
	case t.api.CA != "" && t.api.Cert == "":
		return errors.New("--tls-client-ca needs --tls-cert: without TLS nobody shows a certificate")
	case raft != 0 && raft != 3:
		return errors.New("--raft-tls-cert, --raft-tls-key and --raft-tls-ca go together")
	case raft == 0 && !isLoopback(o.raftAddr):
		return fmt.Errorf("--raft-addr %s: beyond loopback members need --raft-tls-cert, --raft-tls-key and --raft-tls-ca (see keysteward tls init)", o.raftAddr)
	case t.api.Cert == "" && !isLoopback(o.apiAddr):
		return fmt.Errorf("--api-addr %s: beyond loopback the API needs --tls-cert and --tls-key (see keysteward tls init)", o.apiAddr)
	}
	return nil
}

// certificates are those of a running node's ports; nil without TLS.
type certificates struct {
	api, raft *pki.Source
}

// open reads all certificates.
func (t *tlsOptions) open(raftHost string, log *slog.Logger) (c certificates, err error) {
	if t.api.Cert != "" {
		if c.api, err = pki.Open(pki.Config{Port: "api", Files: t.api, Logger: log}); err != nil {
			return c, fmt.Errorf("--tls-cert, --tls-key, --tls-client-ca: %w", err)
		}
	}
	if t.raft.Cert == "" {
		return c, nil
	}
	if c.raft, err = pki.Open(pki.Config{Port: "raft", Files: t.raft, Mutual: true, Host: raftHost, Logger: log}); err != nil {
		return c, fmt.Errorf("--raft-tls-cert, --raft-tls-key, --raft-tls-ca: %w", err)
	}
	if c.api == nil {
		return c, nil
	}
	if shared := c.api.Shared(c.raft); shared != nil {
		return c, fmt.Errorf("--tls-client-ca and --raft-tls-ca both hold %s: callers must not have certificates of the members' authority", shared.Subject)
	}
	return c, nil
}

// raftHost is the host under which the other members reach this one.
func (o *serverOptions) raftHost() string {
	address := o.raftAdvertise
	if address == "" {
		address = o.raftAddr
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil || host == "" || net.ParseIP(host).IsUnspecified() {
		return ""
	}
	return host
}

// security is that of the members' port.
func (c certificates) security(founders []cluster.Peer, log *slog.Logger) node.Security {
	s := node.Security{Certificates: c.raft, Others: cluster.PatternOf(founders).FitsHost, Logger: log}
	for _, f := range founders {
		s.Founders = append(s.Founders, f.Raft)
	}
	return s
}

func (c certificates) sources() []*pki.Source {
	var list []*pki.Source
	for _, s := range []*pki.Source{c.api, c.raft} {
		if s != nil {
			list = append(list, s)
		}
	}
	return list
}

// checks are lines of readiness: a port whose certificates are not valid now serves
// nobody.
func (c certificates) checks() []node.Check {
	var list []node.Check
	for _, s := range c.sources() {
		detail, ok := s.State()
		list = append(list, node.Check{Name: "tls-" + s.Port(), OK: ok, Detail: detail})
	}
	return list
}

// unfit says that nobody can connect: a leader with certificates that are over keeps the
// connections that it has, and is found by no client.
func (c certificates) unfit() string {
	for _, check := range c.checks() {
		if !check.OK {
			return check.Name + ": " + check.Detail
		}
	}
	return ""
}

func (c certificates) register(r prometheus.Registerer) error {
	for _, s := range c.sources() {
		// Each has metrics of the same names with a label of its own.
		if err := r.Register(s); err != nil {
			return fmt.Errorf("metrics of certificates: %w", err)
		}
	}
	return nil
}
