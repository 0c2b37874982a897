// Package unanswered says why an API server gives no answer that is of use. It brings
// nothing of ours along but package pki.
package unanswered

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"syscall"

	"github.com/keysteward/keysteward/node/pki"
)

// Reason is why there is no answer.
type Reason struct {
	// Unproven: what is at the address does not prove to be the API server that is meant.
	// Otherwise it is away, or the way to it is.
	Unproven bool
	// Detail is in words, which stay the same from one try to the next.
	Detail string
}

// Because finds the reason in the error of a request that was not answered. It leaves out
// addresses and ports of our own, which differ each time.
func Because(err error) Reason {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		verify   *tls.CertificateVerificationError
		invalid  x509.CertificateInvalidError
		noTLS    tls.RecordHeaderError
		errno    syscall.Errno
		dns      *net.DNSError
		network  net.Error
	)
	switch {
	case errors.As(err, &unknown):
		return Reason{true, "the API server's certificate is not by the authority of the kubeconfig"}
	case errors.As(err, &hostname):
		return Reason{true, hostname.Error()}
	case errors.As(err, &invalid):
		return Reason{true, "the API server's certificate is not valid: " + pki.Complaint(invalid)}
	case errors.As(err, &verify):
		return Reason{true, verify.Error()}
	case errors.As(err, &noTLS):
		return Reason{true, "what answers at the API server's address does not speak TLS"}
	case errors.As(err, &dns):
		return Reason{false, "the name " + dns.Name + " is not found: " + dns.Err}
	case errors.As(err, &errno):
		return Reason{false, errno.Error()}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return Reason{false, "no answer in time"}
	}
	if _, alert, found := strings.Cut(err.Error(), "tls: "); found {
		return Reason{true, "tls: " + alert}
	}
	return Reason{false, "the connection broke"}
}
