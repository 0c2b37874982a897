package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

// backdated is how far certificates begin in the past, for clocks that are slow.
const backdated = time.Hour

// ErrAuthority is wrapped by errors about an authority that can not be used.
var ErrAuthority = errors.New("certificate authority")

// Authority vouches for certificates by its key.
type Authority struct {
	Certificate *x509.Certificate
	key         crypto.Signer
}

// Pair is a certificate and its private key, PEM.
type Pair struct {
	Certificate []byte
	Key         Key
}

// Request says what a certificate is for.
type Request struct {
	// Name and Organization are the subject's; Organization may be empty.
	Name, Organization string
	// Hosts are DNS names and IPs.
	Hosts []string
	// Server and Client are what the certificate allows to be.
	Server, Client bool
	// Lifetime begins now; a certificate ends no later than its authority.
	Lifetime time.Duration
}

// NewAuthority makes an authority that is valid from now on. With domains it can vouch
// for names in them, and for loopback addresses, only (RFC 5280, 4.2.1.10).
func NewAuthority(name string, domains []string, now time.Time, lifetime time.Duration) (*Authority, Pair, error) {
	template := &x509.Certificate{
		Subject:   pkix.Name{Organization: []string{"Keysteward"}, CommonName: name},
		NotBefore: now.Add(-backdated), NotAfter: now.Add(lifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if len(domains) > 0 {
		template.PermittedDNSDomainsCritical = true
		template.PermittedDNSDomains = append([]string{"localhost"}, domains...)
		template.PermittedIPRanges = []*net.IPNet{
			{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}, {IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)},
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, Pair{}, fmt.Errorf("%w: %w", ErrAuthority, err)
	}
	pair, err := sign(template, template, key, key)
	if err != nil {
		return nil, Pair{}, err
	}
	a, err := ParseAuthority(pair)
	return a, pair, err
}

// ParseAuthority reads the certificate of an authority and its key. Errors wrap
// [ErrAuthority].
func ParseAuthority(p Pair) (*Authority, error) {
	pair, err := tls.X509KeyPair(p.Certificate, p.Key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAuthority, err)
	}
	c := pair.Leaf
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !c.IsCA || !ok || len(pair.Certificate) != 1 {
		return nil, fmt.Errorf("%w: %s is not the certificate of an authority", ErrAuthority, c.Subject)
	}
	return &Authority{Certificate: c, key: key}, nil
}

// Issue makes a certificate and a key for it. Hosts that can not stand in a
// certificate are refused with [ErrName], an authority that has ended with [ErrAuthority].
func (a *Authority) Issue(r Request, now time.Time) (Pair, error) {
	for _, host := range r.Hosts {
		if err := checkHost(host); err != nil {
			return Pair{}, err
		}
	}
	until := now.Add(r.Lifetime)
	if until.After(a.Certificate.NotAfter) {
		until = a.Certificate.NotAfter
	}
	if !until.After(now) {
		return Pair{}, fmt.Errorf("%w: %s expired at %s: a new one is needed, and with it new certificates for all",
			ErrAuthority, a.Certificate.Subject.CommonName, a.Certificate.NotAfter.UTC().Format(time.RFC3339))
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: r.Name},
		NotBefore: now.Add(-backdated), NotAfter: until,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if r.Organization != "" {
		template.Subject.Organization = []string{r.Organization}
	}
	if r.Server {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if r.Client {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	for _, host := range r.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("certificate for %s: %w", r.Name, err)
	}
	pair, err := sign(template, a.Certificate, key, a.key)
	if err != nil {
		return Pair{}, err
	}
	return pair, a.vouches(pair, now)
}

// vouches makes sure that what was made will be accepted, constraints of names and all.
func (a *Authority) vouches(p Pair, now time.Time) error {
	pair, err := tls.X509KeyPair(p.Certificate, p.Key)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAuthority, err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate)
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return fmt.Errorf("%w: %s can not vouch for %s: %w", ErrAuthority, a.Certificate.Subject.CommonName, pair.Leaf.Subject.CommonName, err)
	}
	return nil
}

func sign(template, parent *x509.Certificate, key *ecdsa.PrivateKey, by crypto.Signer) (Pair, error) {
	var err error
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return Pair{}, fmt.Errorf("certificate for %s: %w", template.Subject, err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		return Pair{}, fmt.Errorf("certificate for %s: %w", template.Subject, err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("key for %s: %w", template.Subject, err)
	}
	defer clear(secret)
	return Pair{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	}, nil
}

// PEM is the certificate of the authority.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate.Raw})
}
