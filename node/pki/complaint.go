package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
)

// Complaint is why the certificate of whoever was called was refused, in words that stay
// the same from one try to the next: those of the library tell what time it is.
func Complaint(err error) string {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	if !ok {
		return err.Error()
	}
	if invalid.Reason != x509.Expired || invalid.Cert == nil {
		return invalid.Error()
	}
	return fmt.Sprintf("expired, or not valid yet: that of %s is valid from %s to %s, by its own words",
		invalid.Cert.Subject, stamp(invalid.Cert.NotBefore), stamp(invalid.Cert.NotAfter))
}
