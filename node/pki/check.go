package pki

import (
	"crypto/x509"
	"fmt"
	"time"
)

// warnBefore is how long before an end of validity people are told, or a third of its
// life for a certificate that lives short.
const warnBefore = 14 * 24 * time.Hour

// fits tells whether the certificate can serve its port at all, whatever the time.
func (m *Material) fits(cfg Config, now time.Time) error {
	leaf := m.chain[0]
	if cfg.Host != "" {
		if err := leaf.VerifyHostname(cfg.Host); err != nil {
			return fmt.Errorf("%w: %s is not for %s: %w", ErrFiles, cfg.Cert, cfg.Host, err)
		}
	}
	uses := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if !cfg.Mutual {
		return allows(leaf, uses, cfg.Cert)
	}
	uses = append(uses, x509.ExtKeyUsageClientAuth)
	if err := allows(leaf, uses, cfg.Cert); err != nil {
		return err
	}
	if m.Authorities == nil {
		return fmt.Errorf("%w: there is no file of authorities", ErrFiles)
	}
	if err := m.vouchedFor(now); err != nil {
		return fmt.Errorf("%w: %s (issued by %s) is not by the authorities in %s: %w", ErrFiles, cfg.Cert, leaf.Issuer, cfg.CA, err)
	}
	return nil
}

// allows wants every one of the uses; a certificate that names none allows all.
func allows(leaf *x509.Certificate, uses []x509.ExtKeyUsage, path string) error {
	words := map[x509.ExtKeyUsage]string{x509.ExtKeyUsageServerAuth: "server", x509.ExtKeyUsageClientAuth: "client"}
	if len(leaf.ExtKeyUsage) == 0 && len(leaf.UnknownExtKeyUsage) == 0 {
		return nil
	}
	for _, use := range uses {
		found := false
		for _, have := range leaf.ExtKeyUsage {
			found = found || have == use || have == x509.ExtKeyUsageAny
		}
		if !found {
			return fmt.Errorf("%w: %s does not allow to be a %s (extended key usage)", ErrFiles, path, words[use])
		}
	}
	return nil
}

// vouchedFor verifies the certificate against the node's own authorities, now or,
// if it is not its time, when it was made.
func (m *Material) vouchedFor(now time.Time) error {
	between := x509.NewCertPool()
	for _, c := range m.chain[1:] {
		between.AddCert(c)
	}
	var err error
	for _, at := range []time.Time{now, m.chain[0].NotBefore.Add(time.Second)} {
		_, err = m.chain[0].Verify(x509.VerifyOptions{
			Roots: m.Authorities, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		if err == nil {
			return nil
		}
	}
	return err //nolint:wrapcheck // the caller wraps
}

// Codes of the states of a port's certificates.
const (
	codeFine        = "valid"
	codeSoon        = "expires-soon"
	codeNotReplaced = "not-replaced"
	codeExpired     = "expired"
	codeEarly       = "not-valid-yet"
)

// validity is what the clock says about the certificates.
func (m *Material) validity(cfg Config, now time.Time) (code, detail string) {
	until := m.chain[0].NotAfter
	for _, c := range m.chain {
		if code, detail := within(c, cfg.Cert, now); code != codeFine {
			return code, detail
		}
		until = earlier(until, c.NotAfter)
	}
	// One authority in its time is enough: others are there for a change of them.
	var worst, why string
	var last time.Time
	for _, c := range m.authorities {
		code, detail := within(c, cfg.CA, now)
		if code == codeFine && c.NotAfter.After(last) {
			last = c.NotAfter
		} else if code != codeFine {
			worst, why = code, detail
		}
	}
	if len(m.authorities) > 0 && last.IsZero() {
		return worst, why
	}
	if !last.IsZero() {
		until = earlier(until, last)
	}
	life := m.chain[0].NotAfter.Sub(m.chain[0].NotBefore)
	if left := until.Sub(now); left < min(warnBefore, life/3) {
		return codeSoon, fmt.Sprintf("%s or its authority expires in %s, at %s", cfg.Cert, inWords(left), stamp(until))
	}
	return codeFine, "valid until " + stamp(until)
}

func within(c *x509.Certificate, path string, now time.Time) (code, detail string) {
	switch {
	case now.Before(c.NotBefore):
		return codeEarly, fmt.Sprintf("%s (%s) is not valid before %s, and this machine's clock says %s: is it right?", path, c.Subject, stamp(c.NotBefore), stamp(now))
	case now.After(c.NotAfter):
		return codeExpired, fmt.Sprintf("%s (%s) expired at %s; this machine's clock says %s", path, c.Subject, stamp(c.NotAfter), stamp(now))
	}
	return codeFine, ""
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// inWords rounds down: nobody is told of more time than there is.
func inWords(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= 2*day {
		return fmt.Sprintf("%d days", d/day)
	}
	return d.Truncate(time.Minute).String()
}
