package credential

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

// ErrKubeconfig is wrapped when a kubeconfig holds no certificate with its key.
var ErrKubeconfig = errors.New("no usable certificate in the kubeconfig")

// Credential is a certificate with what is between it and its authority, and its private
// key, both PEM. It prints as "[redacted]".
type Credential struct {
	Certificate, Key []byte
	// NotBefore and NotAfter bound its validity.
	NotBefore, NotAfter time.Time
	// Serial is the certificate's serial number in hexadecimal digits.
	Serial string
}

// Format writes "[redacted]" whatever the verb.
func (Credential) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, "[redacted]") }

// LogValue returns "[redacted]" to log/slog.
func (Credential) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// MarshalText returns "[redacted]" to text encoders, JSON among them.
func (Credential) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// FromKubeconfig takes the credential of the user of the current context. Errors wrap
// [ErrKubeconfig] and repeat nothing of it.
func FromKubeconfig(text []byte) (Credential, error) {
	config, err := clientcmd.Load(text)
	if err != nil {
		return Credential{}, fmt.Errorf("%w: it does not parse", ErrKubeconfig)
	}
	context := config.Contexts[config.CurrentContext]
	if context == nil || config.AuthInfos[context.AuthInfo] == nil {
		return Credential{}, fmt.Errorf("%w: there is no user", ErrKubeconfig)
	}
	user := config.AuthInfos[context.AuthInfo]
	return newCredential(user.ClientCertificateData, user.ClientKeyData)
}

// newCredential checks that certificate and key belong together.
func newCredential(certificate, key []byte) (Credential, error) {
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return Credential{}, fmt.Errorf("%w: certificate and key are not a pair", ErrKubeconfig)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return Credential{}, fmt.Errorf("%w: the certificate does not parse", ErrKubeconfig)
	}
	return Credential{Certificate: certificate, Key: key, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, Serial: leaf.SerialNumber.Text(16)}, nil
}

// renewAt is when the cluster asks for the next one: at two thirds of its life.
func (c Credential) renewAt() time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 3 * 2)
}

// margin is left of a certificate's life when it is handed out, for clocks that differ
// and requests that are on their way.
const margin = 10 * time.Second

func (c Credential) valid(now time.Time) bool { return now.Add(margin).Before(c.NotAfter) }
