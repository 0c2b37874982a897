package certificate_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"net"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/kubernetes/certificate"
)

// foreignRequest is a request that this program would not make.
func foreignRequest(t *testing.T, key certificate.Key, template *x509.CertificateRequest) []byte {
	t.Helper()
	signer, err := x509.ParsePKCS8PrivateKey(key.PKCS8())
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, template, signer)
	require.NoError(t, err)
	return der
}

func TestRequestAsksForNothingElse(t *testing.T) {
	t.Parallel()
	parsed, err := x509.ParseCertificateRequest(request())
	require.NoError(t, err)
	require.Equal(t, "CN="+name, parsed.Subject.String())
	require.Empty(t, parsed.Extensions)
	block, rest := pem.Decode(certificate.RequestPEM(request()))
	require.Equal(t, "CERTIFICATE REQUEST", block.Type)
	require.Equal(t, request(), block.Bytes)
	require.Empty(t, rest)
}

func TestCheckRequest(t *testing.T) {
	t.Parallel()
	named := func(subject pkix.Name) *x509.CertificateRequest { return &x509.CertificateRequest{Subject: subject} }
	with := func(change func(*x509.CertificateRequest)) *x509.CertificateRequest {
		r := named(pkix.Name{CommonName: name})
		change(r)
		return r
	}
	flipped := append([]byte(nil), request()...)
	flipped[len(flipped)-1] ^= 1
	oidCN := asn1.ObjectIdentifier{2, 5, 4, 3}
	for what, c := range map[string]struct {
		der  []byte
		says string
	}{
		"nothing":      {nil, "can not be read"},
		"PEM":          {certificate.RequestPEM(request()), "can not be read"},
		"more behind":  {append(append([]byte(nil), request()...), 0), "can not be read"},
		"signature":    {flipped, "signature"},
		"another key":  {foreignRequest(t, bobKey(), named(pkix.Name{CommonName: name})), "another key"},
		"another name": {foreignRequest(t, aliceKey(), named(pkix.Name{CommonName: "system:admin"})), "common name is"},
		"no name":      {foreignRequest(t, aliceKey(), named(pkix.Name{})), "not one common name"},
		"an organisation": {
			foreignRequest(t, aliceKey(), named(pkix.Name{CommonName: name, Organization: []string{"system:masters"}})), "organisation",
		},
		"a unit": {
			foreignRequest(t, aliceKey(), named(pkix.Name{CommonName: name, OrganizationalUnit: []string{"x"}})), "not one common name",
		},
		"two names": {
			foreignRequest(t, aliceKey(), named(pkix.Name{CommonName: name, ExtraNames: []pkix.AttributeTypeAndValue{{Type: oidCN, Value: "a"}, {Type: oidCN, Value: name}}})), "not one common name",
		},
		"a DNS name": {foreignRequest(t, aliceKey(), with(func(r *x509.CertificateRequest) { r.DNSNames = []string{"a"} })), "other names"},
		"a mail":     {foreignRequest(t, aliceKey(), with(func(r *x509.CertificateRequest) { r.EmailAddresses = []string{"a@b"} })), "other names"},
		"an IP":      {foreignRequest(t, aliceKey(), with(func(r *x509.CertificateRequest) { r.IPAddresses = []net.IP{{1, 2, 3, 4}} })), "other names"},
		"a URI":      {foreignRequest(t, aliceKey(), with(func(r *x509.CertificateRequest) { r.URIs = []*url.URL{{Scheme: "a", Host: "b"}} })), "other names"},
		"a CA": {
			foreignRequest(t, aliceKey(), with(func(r *x509.CertificateRequest) {
				r.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Value: []byte{0x30, 3, 1, 1, 0xff}}}
			})), "extensions",
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			err := certificate.CheckRequest(c.der, name, aliceKey().SPKI())
			require.ErrorIs(t, err, certificate.ErrRequest)
			require.ErrorContains(t, err, c.says)
		})
	}
	require.NoError(t, certificate.CheckRequest(request(), name, aliceKey().SPKI()))
}
