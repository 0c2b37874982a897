package faults

import (
	"context"
	"time"

	"github.com/keysteward/keysteward/client/pki"
)

// CertificateExpires gives a node of a cluster with TLS certificates that are over after
// so long: then nobody may be let in by them any more. Connections that were made before
// go on. It is healed by new certificates, which the node has to find by itself.
func (s Stage) CertificateExpires(i int, after time.Duration) Fault {
	return New("certificates of "+NodeName(i)+" over in "+after.String(), func(context.Context) (func(context.Context) error, error) {
		heal := func(context.Context) error { return s.Nodes.Certify(i, pki.Lifetime) } //nolint:wrapcheck // says what it is
		return heal, s.Nodes.Certify(i, after)                                          //nolint:wrapcheck // says what it is
	})
}
