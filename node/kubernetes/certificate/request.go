package certificate

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
)

// requestBlock is the type of a request in PEM (RFC 7468).
const requestBlock = "CERTIFICATE REQUEST"

// ErrRequest is wrapped by what [CheckRequest] answers: these bytes are not a request
// that may be signed.
var ErrRequest = errors.New("not the certificate request that it should be")

// oidCommonName is the attribute commonName (X.520).
var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// Request asks for a certificate: a PKCS#10 request (RFC 2986) in DER, signed by the
// key, with a common name and nothing else. No organisation, which Kubernetes would
// take for a group, no other names, no extensions. The error wraps [ErrZeroed] for a
// key that was zeroed.
func Request(key Key, commonName string) ([]byte, error) {
	signer, err := key.signer()
	if err != nil {
		return nil, err
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: commonName}}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, signer)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate request: %w", err)
	}
	return der, nil
}

// RequestPEM is a request as Kubernetes wants it. The same request is always the same bytes.
func RequestPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: requestBlock, Bytes: der})
}

// CheckRequest reports why a request in DER is not the one of that common name and
// public key (SubjectPublicKeyInfo, DER): its signature is wrong, it asks for another
// name or for anything beside. The error wraps [ErrRequest].
func CheckRequest(der []byte, commonName string, spki []byte) error {
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return fmt.Errorf("%w: it can not be read: %w", ErrRequest, err)
	}
	switch names := request.Subject.Names; {
	case request.CheckSignature() != nil:
		return fmt.Errorf("%w: its signature is not of its key", ErrRequest)
	case len(request.Subject.Organization) > 0:
		return fmt.Errorf("%w: it asks for an organisation, which is a group in Kubernetes", ErrRequest)
	case len(names) != 1 || !names[0].Type.Equal(oidCommonName):
		return fmt.Errorf("%w: its subject is not one common name", ErrRequest)
	case request.Subject.CommonName != commonName:
		return fmt.Errorf("%w: its common name is %.80q, not %.80q", ErrRequest, request.Subject.CommonName, commonName)
	case len(request.Extensions) > 0:
		return fmt.Errorf("%w: it asks for other names or extensions", ErrRequest)
	case !bytes.Equal(request.RawSubjectPublicKeyInfo, spki):
		return fmt.Errorf("%w: it is for another key", ErrRequest)
	}
	return nil
}
