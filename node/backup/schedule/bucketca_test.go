package schedule

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
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/stretchr/testify/require"
)

// authority vouches for servers, in tests.
type authority struct {
	file string // of its certificate
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{file: filepath.Join(t.TempDir(), "ca.crt")}
	a.cert, a.key = a.issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, a.file)
	return a
}

// server makes the files of a server on this machine's loopback.
func (a *authority) server(t *testing.T) (cert, key string) {
	t.Helper()
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	_, secret := a.issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "s3"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, cert)
	der, err := x509.MarshalPKCS8PrivateKey(secret)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	return cert, key
}

// issue signs a certificate, its own if there is no authority yet, and writes it down.
func (a *authority) issue(t *testing.T, template *x509.Certificate, file string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert, key
}

// A real S3 server that speaks TLS: backups go to one that the authority of CAFile vouches
// for, and to no other; who vouches for nobody is called so and not taken for one that is
// away.
func TestBucketOverTLS(t *testing.T) {
	t.Parallel()
	right, wrong := newAuthority(t, "right"), newAuthority(t, "wrong")
	cert, key := right.server(t)
	g := newGateway(t, "--cert", cert, "--key", key)
	g.endpoint = "https://" + g.address
	trusted := x509.NewCertPool()
	trusted.AddCert(right.cert)
	admin := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}}
	t.Cleanup(admin.CloseIdleConnections)
	g.open(t, minio.Options{Secure: true, Transport: admin})

	b := g.bucket(t, func(c *BucketConfig) { c.CAFile = right.file })
	s, stop := run(t, Config{Store: b, Every: time.Hour}, "c1")
	defer stop()
	require.Eventually(t, func() bool { return s.Status().Last.Name != "" }, 20*time.Second, 10*time.Millisecond, "%+v", s.Status())
	list, err := b.List(t.Context())
	require.NoError(t, err)
	require.Len(t, ours(list, "c1"), 1)

	for name, ca := range map[string]string{"another authority": wrong.file, "the system's": ""} {
		b := g.bucket(t, func(c *BucketConfig) { c.CAFile = ca })
		_, err := b.List(t.Context())
		require.ErrorIs(t, err, ErrUntrusted, name)
		require.ErrorContains(t, err, "--backup-s3-ca-file", name)
		require.ErrorContains(t, err, "x509: certificate signed by unknown authority", name)
		require.Equal(t, ReasonUntrusted, reasonOf(err))
		require.ErrorIs(t, b.Put(t.Context(), "x", text{content: []byte("x")}), ErrUntrusted, name)
	}
}
