package pods

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Why nothing is known of pods: codes of [Status]. They are stable.
const (
	// CodeStarting: pods have not been listed yet.
	CodeStarting = "starting"
	// CodeUnreachable: the API server gives no answer, or none that is of use.
	CodeUnreachable = "kubernetes-unreachable"
	// CodeAuthority: the API server does not prove to be the one of the configuration.
	CodeAuthority = "kubernetes-authority"
	// CodeUnauthorized: the API server does not know the credential (401).
	CodeUnauthorized = "kubernetes-unauthorized"
	// CodeForbidden: the credential lacks a permission, which the detail names.
	CodeForbidden = "kubernetes-forbidden"
	// CodeContradiction: the API server lists no pod that it has when asked for it.
	CodeContradiction = "kubernetes-contradiction"
	// CodeNotFollowed: pods that hold keys are in namespaces that are not followed.
	CodeNotFollowed = "namespaces-not-followed"
)

// reason is why something is not as it should be; the zero value is none.
type reason struct{ code, detail string }

// explain finds the reason in an error of Kubernetes; none in nil. Its words do not change
// while the reason does not, so that they are told once.
func explain(err error) reason {
	if err == nil {
		return reason{}
	}
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) {
		return ofConnection(err)
	}
	switch code, message := status.Status().Code, status.Status().Message; {
	case apierrors.IsUnauthorized(err):
		return reason{CodeUnauthorized, "the API server does not accept this server's credential (401)"}
	case apierrors.IsForbidden(err):
		return reason{CodeForbidden, "this server's account lacks a permission: " + message}
	default:
		return reason{CodeUnreachable, fmt.Sprintf("the API server answers %d: %s", code, message)}
	}
}

// ofConnection leaves out addresses and ports of our own, which differ each time.
func ofConnection(err error) reason {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		verify   *tls.CertificateVerificationError
		noTLS    tls.RecordHeaderError
		errno    syscall.Errno
		dns      *net.DNSError
		network  net.Error
	)
	switch {
	case errors.As(err, &unknown):
		return reason{CodeAuthority, "the API server's certificate is not by the configured authority"}
	case errors.As(err, &hostname):
		return reason{CodeAuthority, hostname.Error()}
	case errors.As(err, &verify):
		return reason{CodeAuthority, verify.Error()}
	case errors.As(err, &noTLS):
		return reason{CodeAuthority, "what answers at the API server's address does not speak TLS"}
	case errors.As(err, &dns):
		return reason{CodeUnreachable, "the name " + dns.Name + " is not found: " + dns.Err}
	case errors.As(err, &errno):
		return reason{CodeUnreachable, errno.Error()}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return reason{CodeUnreachable, "no answer in time"}
	}
	if _, alert, found := strings.Cut(err.Error(), "tls: "); found {
		return reason{CodeAuthority, "tls: " + alert}
	}
	return reason{CodeUnreachable, "the connection broke"}
}
