package secrets

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keysteward/keysteward/client/pki"
)

// ErrCertificate is wrapped by errors about a Secret that is there and holds no
// certificate that could be used.
var ErrCertificate = errors.New("unusable certificate")

const caKey = "ca.crt"

// soon is how long before its end a certificate is told of.
const soon = 30 * 24 * time.Hour

// ensureCertificate makes a certificate that is missing, and the authority that it
// needs. Authorities that nothing needs are not made: somebody else has his own.
func (s *store) ensureCertificate(ctx context.Context, c certificate, now time.Time) error {
	secret, err := s.get(ctx, c.secret)
	if err != nil {
		return err
	}
	if secret != nil {
		return s.examine(secret, c.request, now)
	}
	authority, err := s.ensureAuthority(ctx, c.authority, c.called, now)
	if err != nil {
		return err
	}
	pair, err := authority.Issue(c.request, now)
	if err != nil {
		return fmt.Errorf("certificate for the Secret %s: %w", c.secret, err)
	}
	defer clear(pair.Key)
	_, err = s.create(ctx, tlsSecret(c.secret, pair, authority.PEM()), "certificate for "+subject(c.request))
	return err
}

// ensureAuthority makes an authority, whose key no node ever sees.
func (s *store) ensureAuthority(ctx context.Context, name, called string, now time.Time) (*pki.Authority, error) {
	secret, err := s.get(ctx, name)
	if err != nil {
		return nil, err
	}
	if secret == nil {
		authority, pair, err := pki.NewAuthority(called, nil, now, pki.AuthorityLifetime)
		if err != nil {
			return nil, fmt.Errorf("authority for the Secret %s: %w", name, err)
		}
		defer clear(pair.Key)
		if secret, err = s.create(ctx, tlsSecret(name, pair, authority.PEM()), called); err != nil {
			return nil, err
		}
	}
	authority, err := pki.ParseAuthority(pki.Pair{Certificate: secret.Data[corev1.TLSCertKey], Key: secret.Data[corev1.TLSPrivateKeyKey]})
	if err != nil {
		return nil, fmt.Errorf("the Secret %s: %w", name, err)
	}
	return authority, nil
}

func tlsSecret(name string, pair pki.Pair, authority []byte) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Type:       corev1.SecretTypeTLS,
		Data:       map[string][]byte{corev1.TLSCertKey: pair.Certificate, corev1.TLSPrivateKeyKey: append([]byte(nil), pair.Key...), caKey: authority},
	}
}

// subject says in words what a certificate is for.
func subject(r pki.Request) string {
	if len(r.Hosts) == 0 {
		return r.Name
	}
	return strings.Join(r.Hosts, ", ")
}

// examine tells what is to be known of a certificate that is there. One that ends,
// or lacks a name, is left to its owner; one without its parts stops the cluster, so it
// is an error.
func (s *store) examine(secret *corev1.Secret, r pki.Request, now time.Time) error {
	for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey, caKey} {
		if len(secret.Data[key]) == 0 {
			return fmt.Errorf("%w: the Secret %s has no %s", ErrCertificate, secret.Name, key)
		}
	}
	block, _ := pem.Decode(secret.Data[corev1.TLSCertKey])
	if block == nil {
		return fmt.Errorf("%w: the Secret %s, %s: no PEM", ErrCertificate, secret.Name, corev1.TLSCertKey)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("%w: the Secret %s: %w", ErrCertificate, secret.Name, err)
	}
	s.say("kept %s: valid until %s", secret.Name, leaf.NotAfter.UTC().Format(time.RFC3339))
	if leaf.NotAfter.Sub(now) < soon {
		s.say("NOTE: %s ends soon or has ended: delete it and run this again for a new one", secret.Name)
	}
	for _, host := range r.Hosts {
		if err := leaf.VerifyHostname(host); err != nil {
			s.say("NOTE: %s is not for %s", secret.Name, host)
		}
	}
	return nil
}
