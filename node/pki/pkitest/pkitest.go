// Package pkitest makes certificates for tests, the broken ones among them.
package pkitest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/pki"
)

// Authority is a certificate authority that lives for one test.
type Authority struct {
	Certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// Change makes a certificate differ from the usual.
type Change func(*x509.Certificate)

// Expired ended an hour ago.
func Expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }

// Early begins in an hour.
func Early(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }

// Until ends at the time.
func Until(end time.Time) Change { return func(c *x509.Certificate) { c.NotAfter = end } }

// Uses allows these extended key usages only.
func Uses(uses ...x509.ExtKeyUsage) Change {
	return func(c *x509.Certificate) { c.ExtKeyUsage = uses }
}

// Named gives it a subject.
func Named(name string, organizations ...string) Change {
	return func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: name, Organization: organizations} }
}

// NewAuthority makes one.
func NewAuthority(t testing.TB, name string, changes ...Change) *Authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	for _, change := range changes {
		change(template)
	}
	key := newKey(t)
	return &Authority{Certificate: sign(t, template, template, key, key), key: key}
}

// PEM is the authority's certificate.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate.Raw})
}

// Pool trusts the authority and nobody else.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate)
	return pool
}

// Issue makes a certificate for names and IPs, for servers and clients, for 500 hours.
func (a *Authority) Issue(t testing.TB, hosts []string, changes ...Change) (certificate, key []byte) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(500 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	for _, change := range changes {
		change(template)
	}
	secret := newKey(t)
	c := sign(t, template, a.Certificate, secret, a.key)
	der, err := x509.MarshalPKCS8PrivateKey(secret)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// Pair is Issue as TLS wants it.
func (a *Authority) Pair(t testing.TB, hosts []string, changes ...Change) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(a.Issue(t, hosts, changes...))
	require.NoError(t, err)
	return pair
}

// Write puts a certificate, its key and the authority's own certificate into a folder.
func (a *Authority) Write(t testing.TB, dir string, hosts []string, changes ...Change) pki.Files {
	t.Helper()
	files := pki.Files{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"), CA: filepath.Join(dir, "ca.crt")}
	certificate, key := a.Issue(t, hosts, changes...)
	Replace(t, files.Cert, certificate)
	Replace(t, files.Key, key)
	Replace(t, files.CA, a.PEM())
	return files
}

// Replace puts a file in the place of another in one step, mode 0600.
func Replace(t testing.TB, path string, content []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", content, 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func serial(t testing.TB) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	require.NoError(t, err)
	return n
}

func sign(t testing.TB, template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	require.NoError(t, err)
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return c
}
