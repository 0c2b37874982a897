package certificate

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Why bytes of a signer are not the certificate that was asked for; what [Check]
// answers wraps one of these.
var (
	ErrEmpty          = errors.New("the certificate is empty")
	ErrTooLarge       = errors.New("the certificate is too large")
	ErrNotPEM         = errors.New("the certificate is not in PEM")
	ErrUnreadable     = errors.New("the certificate can not be read")
	ErrOtherKey       = errors.New("the certificate is for another key")
	ErrOtherName      = errors.New("the certificate is for another name")
	ErrOrganization   = errors.New("the certificate is of an organisation, which is a group in Kubernetes")
	ErrAuthority      = errors.New("the certificate is that of an authority")
	ErrUsage          = errors.New("the certificate is not for clients")
	ErrNotYetValid    = errors.New("the certificate is not valid yet")
	ErrExpired        = errors.New("the certificate has expired")
	ErrOtherAuthority = errors.New("the certificate does not chain to the cluster's authority")
)

const (
	// Skew is how much later than ours the signer's clock may be.
	Skew = 5 * time.Minute
	// MaxChain bounds a certificate with what comes along, in bytes of PEM.
	MaxChain = 64 << 10
	// maxLinks bounds how many certificates that are.
	maxLinks = 10

	certificateBlock = "CERTIFICATE"
)

// Issued is what a signer issued and what it is held against.
type Issued struct {
	// PEM is what the signer wrote: the certificate, then maybe those between it and
	// its authority.
	PEM []byte
	// SPKI is the public key (SubjectPublicKeyInfo, DER) and CommonName the name that
	// were asked for.
	SPKI       []byte
	CommonName string
	// Authority is the certificates, in PEM, to one of which it should chain; empty if
	// that is not known. Now is the time at which it must be valid.
	Authority []byte
	Now       time.Time
}

// Leaf is a certificate that was checked.
type Leaf struct {
	// PEM is the certificate and what came along, without anything in between.
	PEM []byte
	// Serial is the serial number in hexadecimal digits.
	Serial              string
	NotBefore, NotAfter time.Time // in UTC
}

// Check reports whether what a signer issued may be stored and served: the first
// certificate is for that key and exactly that common name, of no organisation, for
// clients, not an authority's, valid at that time (it may begin [Skew] later), and
// chains to the authority. Every other answer wraps the sentinel that says why.
//
// A valid cluster may sign clients with another authority than the one that vouches
// for its server, and only the latter is in its kubeconfig. So the chain is looked at
// last, and with [ErrOtherAuthority], and no other error, the leaf is returned all the
// same: everything else about it is right, and the caller decides.
func Check(i Issued) (Leaf, error) {
	chain, err := parseChain(i.PEM)
	if err != nil {
		return Leaf{}, err
	}
	if err := checkLeaf(i, chain[0]); err != nil {
		return Leaf{}, err
	}
	leaf := Leaf{
		Serial:    chain[0].SerialNumber.Text(16),
		NotBefore: chain[0].NotBefore.UTC(), NotAfter: chain[0].NotAfter.UTC(),
	}
	for _, link := range chain {
		leaf.PEM = append(leaf.PEM, pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: link.Raw})...)
	}
	return leaf, checkChain(i, chain)
}

func parseChain(text []byte) ([]*x509.Certificate, error) {
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return nil, ErrEmpty
	case len(text) > MaxChain:
		return nil, fmt.Errorf("%w: %d bytes, the most is %d", ErrTooLarge, len(text), MaxChain)
	}
	var chain []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != certificateBlock {
			return nil, fmt.Errorf("%w: it holds a block %.64q", ErrNotPEM, block.Type)
		}
		link, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
		}
		if chain = append(chain, link); len(chain) > maxLinks {
			return nil, fmt.Errorf("%w: more than %d certificates", ErrTooLarge, maxLinks)
		}
	}
	if len(chain) == 0 {
		return nil, ErrNotPEM
	}
	return chain, nil
}

func checkLeaf(i Issued, leaf *x509.Certificate) error {
	names := leaf.Subject.Names
	switch {
	case !bytes.Equal(leaf.RawSubjectPublicKeyInfo, i.SPKI):
		return ErrOtherKey
	case len(leaf.Subject.Organization) > 0:
		return fmt.Errorf("%w: %.128q", ErrOrganization, leaf.Subject.Organization[0])
	case leaf.Subject.CommonName != i.CommonName || i.CommonName == "":
		return fmt.Errorf("%w: %.80q, not %.80q", ErrOtherName, leaf.Subject.CommonName, i.CommonName)
	case len(names) != 1 || !names[0].Type.Equal(oidCommonName):
		return fmt.Errorf("%w: there are %d attributes in its subject, not only the common name", ErrOtherName, len(names))
	case leaf.IsCA:
		return ErrAuthority
	case !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		return fmt.Errorf("%w: its extended key usage lacks client auth", ErrUsage)
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return fmt.Errorf("%w: its key usage lacks digital signature", ErrUsage)
	case !i.Now.Before(leaf.NotAfter):
		return fmt.Errorf("%w at %s", ErrExpired, leaf.NotAfter.UTC().Format(time.RFC3339))
	case leaf.NotBefore.After(i.Now.Add(Skew)):
		return fmt.Errorf("%w before %s", ErrNotYetValid, leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

func checkChain(i Issued, chain []*x509.Certificate) error {
	if len(i.Authority) == 0 {
		return nil
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	if !roots.AppendCertsFromPEM(i.Authority) {
		return fmt.Errorf("%w: that one can not be read", ErrOtherAuthority)
	}
	for _, link := range chain[1:] {
		between.AddCert(link)
	}
	now := i.Now
	if now.Before(chain[0].NotBefore) {
		now = chain[0].NotBefore // within Skew
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return fmt.Errorf("%w: %s", ErrOtherAuthority, line(err.Error()))
	}
	return nil
}
