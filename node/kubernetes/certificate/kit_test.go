package certificate_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/keysteward/keysteward/node/kubernetes/certificate"
)

var (
	owner = certificate.Owner{ClusterID: "4b3f8c1e-7f0d-4c6e-9c1b-0a8e6f1d2c3b", Project: "p", Cloud: "c", Reference: "east", Generation: 3}
	name  = owner.CommonName("alice")
	now   = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

var (
	aliceKey = sync.OnceValue(func() certificate.Key { return generate(certificate.ECDSAP256) })
	bobKey   = sync.OnceValue(func() certificate.Key { return generate(certificate.ECDSAP256) })
	rsaKey   = sync.OnceValue(func() certificate.Key { return generate(certificate.RSA4096) })
)

func generate(algorithm certificate.Algorithm) certificate.Key {
	key, err := certificate.GenerateKey(algorithm)
	if err != nil {
		panic(err)
	}
	return key
}

var request = sync.OnceValue(func() []byte {
	der, err := certificate.Request(aliceKey(), name)
	if err != nil {
		panic(err)
	}
	return der
})

// wanted is a request that was recorded and made.
func wanted() certificate.Wanted {
	return certificate.Wanted{
		Name: owner.RequestName(1, [8]byte{1, 2, 3}), UID: types.UID("uid-1"), Owner: owner,
		Request: request(), CommonName: name, SPKI: aliceKey().SPKI(), ExpirationSeconds: 3600,
	}
}

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

var (
	clients = sync.OnceValue(func() authority { return newAuthority("clients", nil) })
	servers = sync.OnceValue(func() authority { return newAuthority("servers", nil) })
	between = sync.OnceValue(func() authority { root := clients(); return newAuthority("between", &root) })
)

func newAuthority(name string, under *authority) authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(1000 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	parent := authority{template, key}
	if under != nil {
		parent = *under
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.certificate, key.Public(), parent.key)
	if err != nil {
		panic(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return authority{certificate, key}
}

func (a authority) pem() []byte { return block("CERTIFICATE", a.certificate.Raw) }

// issue signs what Kubernetes' signer would, with a change.
func (a authority) issue(public crypto.PublicKey, change func(*x509.Certificate)) []byte {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0xabc), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-5 * time.Minute), NotAfter: now.Add(55 * time.Minute),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key)
	if err != nil {
		panic(err)
	}
	return block("CERTIFICATE", der)
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
