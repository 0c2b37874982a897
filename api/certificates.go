package api

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// ErrCertificateRoles is wrapped by every error about a file of certificates' roles.
var ErrCertificateRoles = errors.New("invalid file of certificates' roles")

// certificateRolePrefix is how an organization of a certificate names a role,
// where no file says otherwise.
const certificateRolePrefix = "keysteward:"

// CertificateRoles says which callers have which client certificates:
//
//	{"certificates":[{"organization":"platform","role":"operator","namespaces":["staging"]},
//	                 {"uri":"spiffe://example.org/ci","name":"ci","role":"viewer"}]}
//
// An entry fits a certificate that has all of the commonName, organization,
// dnsName, email and uri which the entry gives, one at least. The first entry that
// fits decides; where none does the certificate is refused. The file is read again
// when it changes, like that of [Tokens]; without it no certificate is let in. A nil CertificateRoles goes by the
// organization alone: keysteward:admin, keysteward:operator or keysteward:viewer.
type CertificateRoles struct {
	file *watched[[]certificateEntry]
}

type certificateEntry struct {
	CommonName   string   `json:"commonName"`
	Organization string   `json:"organization"`
	DNSName      string   `json:"dnsName"`
	Email        string   `json:"email"`
	URI          string   `json:"uri"`
	Name         string   `json:"name"`
	Role         Role     `json:"role"`
	Namespaces   []string `json:"namespaces"`
	Projects     []string `json:"projects"`
}

// OpenCertificateRoles reads the file; its errors wrap [ErrCertificateRoles].
func OpenCertificateRoles(path string, log *slog.Logger) (*CertificateRoles, error) {
	file, err := watch("file of certificates' roles", path, log, parseCertificateRoles)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificateRoles, err)
	}
	return &CertificateRoles{file: file}, nil
}

func parseCertificateRoles(data []byte) ([]certificateEntry, error) {
	var file struct {
		Certificates []certificateEntry `json:"certificates"`
	}
	if err := decodeFile(data, &file); err != nil {
		return nil, err
	}
	for i, e := range file.Certificates {
		limits := checkLimits(e.Namespaces, e.Projects)
		switch {
		case e.CommonName+e.Organization+e.DNSName+e.Email+e.URI == "":
			return nil, fmt.Errorf("certificate %d: it fits every certificate: give a commonName, organization, dnsName, email or uri", i+1)
		case e.Name != "" && !saneTokenName.MatchString(e.Name):
			return nil, fmt.Errorf("certificate %d: the name %q is malformed", i+1, e.Name)
		case !slices.Contains(givenRoles, e.Role):
			return nil, fmt.Errorf("certificate %d: role %q is none of admin, operator, viewer", i+1, e.Role)
		case limits != nil:
			return nil, fmt.Errorf("certificate %d: %w", i+1, limits)
		}
	}
	return file.Certificates, nil
}

// Lookup returns the caller that a certificate stands for. That one of the client
// authorities vouches for it, the TLS handshake has shown; that it has not expired
// since is looked at here, because connections last.
func (r *CertificateRoles) Lookup(c *x509.Certificate, now time.Time) (Caller, error) {
	if now.After(c.NotAfter) {
		return Caller{}, fmt.Errorf("the client certificate of %s expired at %s", subject(c), c.NotAfter.UTC().Format(time.RFC3339))
	}
	caller := Caller{Name: c.Subject.CommonName, Method: byCertificate, Credential: c.SerialNumber.Text(16)}
	if r == nil {
		return byOrganization(c, caller)
	}
	for _, e := range r.file.now() {
		if !e.fits(c) {
			continue
		}
		caller.Role, caller.Namespaces, caller.Projects = e.Role, e.Namespaces, e.Projects
		if e.Name != "" {
			caller.Name = e.Name
		}
		return named(c, caller)
	}
	return Caller{}, fmt.Errorf("no entry of the file of certificates' roles fits the client certificate of %s", subject(c))
}

func (e certificateEntry) fits(c *x509.Certificate) bool {
	has := func(want string, all []string) bool { return want == "" || slices.Contains(all, want) }
	uris := make([]string, len(c.URIs))
	for i, u := range c.URIs {
		uris[i] = u.String()
	}
	return has(e.CommonName, []string{c.Subject.CommonName}) && has(e.Organization, c.Subject.Organization) &&
		has(e.DNSName, c.DNSNames) && has(e.Email, c.EmailAddresses) && has(e.URI, uris)
}

// byOrganization refuses a certificate that names no role, or several.
func byOrganization(c *x509.Certificate, caller Caller) (Caller, error) {
	for _, organization := range c.Subject.Organization {
		role, names := strings.CutPrefix(organization, certificateRolePrefix)
		switch {
		case !names:
		case caller.Role != "":
			return Caller{}, fmt.Errorf("the client certificate of %s names several roles", subject(c))
		case !slices.Contains(givenRoles, Role(role)):
			return Caller{}, fmt.Errorf("the client certificate of %s names the role %q, none of admin, operator, viewer", subject(c), shortened(role))
		default:
			caller.Role = Role(role)
		}
	}
	if caller.Role == "" {
		return Caller{}, fmt.Errorf("the client certificate of %s gives no role: its organization is none of keysteward:admin, keysteward:operator, keysteward:viewer", subject(c))
	}
	return named(c, caller)
}

// named refuses a caller whose name could not be told in a log or audit record.
func named(c *x509.Certificate, caller Caller) (Caller, error) {
	if !saneTokenName.MatchString(caller.Name) {
		return Caller{}, fmt.Errorf("the client certificate of %s has no common name of A-Z a-z 0-9 . _ : @ / -", subject(c))
	}
	return caller, nil
}

// subject is short enough for an answer.
func subject(c *x509.Certificate) string { return fmt.Sprintf("%q", shortened(c.Subject.String())) }
