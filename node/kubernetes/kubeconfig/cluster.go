package kubeconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
)

// ErrEmpty says that a [Cluster] did not come from [Parse].
var ErrEmpty = errors.New("there is no kubeconfig of this cluster")

// Public is what may be stored in the clear and shown of a registered cluster.
type Public struct {
	// Server is the address of its API: https, a host, maybe a port and a path.
	Server string
	// TLSServerName is the name in the server's certificate if it is not the host of
	// Server; else empty.
	TLSServerName string
	// CA is the certificates of the authorities that vouch for the server, in PEM;
	// empty for public authorities.
	CA []byte
}

// Cluster is a registered Kubernetes cluster: how to reach it, and how to log in. Of
// the credential it prints and marshals nothing.
type Cluster struct {
	Public
	// Behind two pointers, because fmt follows one.
	secret **credential
}

// credential is how to log in: with a certificate, a token or both.
type credential struct {
	token            string
	certificate, key []byte // PEM
	notAfter         time.Time
	canonical        []byte
}

// Canonical is the smallest kubeconfig that says the same, with everything embedded:
// what is sealed and stored, and read again by [Parse] to the same Cluster. It is a
// secret; the caller clears the copy. It is nil for a Cluster that did not come from
// Parse.
func (c Cluster) Canonical() []byte {
	if c.secret == nil {
		return nil
	}
	return bytes.Clone((*c.secret).canonical)
}

// NotAfter is when the client certificate expires, in UTC; zero if a token is all there is.
func (c Cluster) NotAfter() time.Time {
	if c.secret == nil {
		return time.Time{}
	}
	return (*c.secret).notAfter
}

// Config is the configuration for client-go. It depends on nothing but the kubeconfig:
// not on the environment, proxies included, and on no files. Limits, time-outs and the
// user agent are the caller's. Since it says that there is no proxy, client-go does not
// share connections between clients of one configuration: keep one client per cluster.
// The error is [ErrEmpty].
func (c Cluster) Config() (*rest.Config, error) {
	if c.secret == nil {
		return nil, ErrEmpty
	}
	secret := *c.secret
	return &rest.Config{
		Host:        c.Server,
		BearerToken: secret.token,
		TLSClientConfig: rest.TLSClientConfig{
			ServerName: c.TLSServerName,
			CAData:     bytes.Clone(c.CA),
			CertData:   bytes.Clone(secret.certificate),
			KeyData:    bytes.Clone(secret.key),
		},
		Proxy: http.ProxyURL(nil),
	}, nil
}

// String names the server and redacts the credential.
func (c Cluster) String() string { return "cluster at " + c.Server + " [credential redacted]" }

// Format writes String for every verb.
func (c Cluster) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue is String for log/slog.
func (c Cluster) LogValue() slog.Value { return slog.StringValue(c.String()) }
