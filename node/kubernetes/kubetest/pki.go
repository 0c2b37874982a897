package kubetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// pki is an authority, the certificate of the API server, and the key that signs
// service-account tokens.
type pki struct {
	t      testing.TB
	dir    string
	ca     *x509.Certificate
	key    *ecdsa.PrivateKey // one for all of them will do here
	signer *rsa.PrivateKey
	serial int64
}

func newPKI(t testing.TB, dir string) *pki {
	t.Helper()
	p := &pki{t: t, dir: dir}
	var err error
	p.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	p.signer, err = rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	template := p.template("ca")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	p.ca = template // which signs itself
	der := p.sign(template)
	p.write("ca.crt", "CERTIFICATE", der)
	p.ca, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	server := p.template("kube-apiserver")
	server.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 0, 0, 1)}
	server.DNSNames = []string{"localhost", "kubernetes.default.svc"}
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	p.write("server.crt", "CERTIFICATE", p.sign(server))
	key, err := x509.MarshalPKCS8PrivateKey(p.key)
	require.NoError(t, err)
	p.write("server.key", "PRIVATE KEY", key)
	p.write("signer.key", "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(p.signer))
	public, err := x509.MarshalPKIXPublicKey(&p.signer.PublicKey)
	require.NoError(t, err)
	p.write("signer.pub", "PUBLIC KEY", public)
	return p
}

func (p *pki) template(name string, groups ...string) *x509.Certificate {
	p.serial++
	return &x509.Certificate{
		SerialNumber: big.NewInt(p.serial), Subject: pkix.Name{CommonName: name, Organization: groups},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

func (p *pki) sign(template *x509.Certificate) []byte {
	p.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, p.ca, &p.key.PublicKey, p.key)
	require.NoError(p.t, err)
	return der
}

func (p *pki) file(name string) string { return filepath.Join(p.dir, name) }

func (p *pki) write(name, kind string, der []byte) {
	p.t.Helper()
	require.NoError(p.t, os.WriteFile(p.file(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

// config is for a user with a client certificate.
func (p *pki) config(port int, user string, groups ...string) *rest.Config {
	p.t.Helper()
	template := p.template(user, groups...)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	p.write(user+".crt", "CERTIFICATE", p.sign(template))
	c := &rest.Config{
		Host: fmt.Sprintf("https://127.0.0.1:%d", port), QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAFile: p.file("ca.crt"), CertFile: p.file(user + ".crt"), KeyFile: p.file("server.key")},
	}
	// Not by their names: client-go would watch the files for as long as the process runs.
	require.NoError(p.t, rest.LoadTLSFiles(c))
	c.CAFile, c.CertFile, c.KeyFile = "", "", ""
	return c
}

// kubeconfig writes the file of a user, all in one, and returns its path.
func (p *pki) kubeconfig(user string, c *rest.Config) string {
	p.t.Helper()
	file := p.file(user + ".kubeconfig")
	require.NoError(p.t, clientcmd.WriteToFile(api.Config{
		Clusters:       map[string]*api.Cluster{"c": {Server: c.Host, CertificateAuthorityData: c.CAData}},
		AuthInfos:      map[string]*api.AuthInfo{user: {ClientCertificateData: c.CertData, ClientKeyData: c.KeyData}},
		Contexts:       map[string]*api.Context{"x": {Cluster: "c", AuthInfo: user}},
		CurrentContext: "x",
	}, file))
	return file
}
