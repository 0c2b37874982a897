package local

import (
	"fmt"
	"time"

	"github.com/keysteward/keysteward/client/pki"
)

// certificates are the files of a cluster that speaks TLS; the zero value is one
// that does not.
type certificates struct{ folder string }

// openCertificates finds the authorities of the folder, or makes them, and makes new
// certificates for all nodes.
func openCertificates(f *folder, nodes int, host func(int) string) (certificates, error) {
	c := certificates{folder: f.in("tls")}
	authorities, err := pki.InitFolder(c.folder, nil, pki.AuthorityLifetime, time.Now())
	if err != nil {
		return c, fmt.Errorf("certificates: %w", err)
	}
	for i := range nodes {
		if err := c.issue(authorities, i, host(i), pki.Lifetime); err != nil {
			return c, err
		}
	}
	return c, nil
}

// issue makes new certificates for a node.
func (c certificates) issue(authorities *pki.Folder, i int, host string, lifetime time.Duration) error {
	n := pki.Node{Name: nodeName(i), Hosts: []string{host}}
	if _, err := authorities.IssueNode(n, []string{"localhost"}, lifetime); err != nil {
		return fmt.Errorf("certificates of %s: %w", n.Name, err)
	}
	return nil
}

func (c certificates) scheme() string {
	if c.folder == "" {
		return "http"
	}
	return "https"
}

// ca is the file with the API's authority, empty without TLS.
func (c certificates) ca() string {
	if c.folder == "" {
		return ""
	}
	return c.folder + "/ca/api.crt"
}

// serverArgs are the flags of a node.
func (c certificates) serverArgs(i int) []string {
	if c.folder == "" {
		return nil
	}
	in := func(name string) string { return c.folder + "/nodes/" + nodeName(i) + "/" + name }
	return []string{
		"--tls-cert", in("api.crt"), "--tls-key", in("api.key"), "--tls-client-ca", in("api-ca.crt"),
		"--raft-tls-cert", in("raft.crt"), "--raft-tls-key", in("raft.key"), "--raft-tls-ca", in("raft-ca.crt"),
	}
}

// clientArgs are the flags of a client command.
func (c certificates) clientArgs() []string {
	if c.folder == "" {
		return nil
	}
	return []string{"--ca-file", c.ca()}
}
