package certificate_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/kubernetes/certificate"
)

func issued(text []byte) certificate.Issued {
	return certificate.Issued{PEM: text, SPKI: aliceKey().SPKI(), CommonName: name, Now: now}
}

func TestCheckAccepts(t *testing.T) {
	t.Parallel()
	leaf := func(change func(*x509.Certificate)) []byte { return clients().issue(aliceKey().Public(), change) }
	under := append(between().issue(aliceKey().Public(), nil), between().pem()...)
	for what, c := range map[string]struct {
		text, authority []byte
		change          func(*certificate.Issued)
	}{
		"plain":                   {text: leaf(nil)},
		"chains":                  {text: leaf(nil), authority: clients().pem()},
		"one of two authorities":  {text: leaf(nil), authority: append(servers().pem(), clients().pem()...)},
		"over another":            {text: under, authority: clients().pem()},
		"its authority behind it": {text: append(leaf(nil), clients().pem()...), authority: clients().pem()},
		"text around":             {text: append([]byte("subject: x\n"), leaf(nil)...), authority: clients().pem()},
		"a clock that is early":   {text: leaf(func(c *x509.Certificate) { c.NotBefore = now.Add(certificate.Skew) }), authority: clients().pem()},
		"no key usage":            {text: leaf(func(c *x509.Certificate) { c.KeyUsage = 0 })},
		"its last second":         {text: leaf(nil), change: func(i *certificate.Issued) { i.Now = now.Add(55*time.Minute - time.Nanosecond) }},
		"for servers too":         {text: leaf(func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) })},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			i := issued(c.text)
			i.Authority = c.authority
			if c.change != nil {
				c.change(&i)
			}
			got, err := certificate.Check(i)
			require.NoError(t, err)
			require.Equal(t, "abc", got.Serial)
			require.Equal(t, now.Add(55*time.Minute), got.NotAfter)
			require.True(t, bytes.HasPrefix(got.PEM, []byte("-----BEGIN CERTIFICATE-----\n")))
			i.PEM = got.PEM
			again, err := certificate.Check(i)
			require.NoError(t, err)
			require.Equal(t, got, again)
		})
	}
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	leaf := func(change func(*x509.Certificate)) []byte { return clients().issue(aliceKey().Public(), change) }
	subject := func(s pkix.Name) []byte { return leaf(func(c *x509.Certificate) { c.Subject = s }) }
	for what, c := range map[string]struct {
		text []byte
		is   error
	}{
		"nothing":         {nil, certificate.ErrEmpty},
		"spaces":          {[]byte(" \n"), certificate.ErrEmpty},
		"large":           {append(leaf(nil), bytes.Repeat([]byte("\n"), certificate.MaxChain)...), certificate.ErrTooLarge},
		"many":            {bytes.Repeat(leaf(nil), 11), certificate.ErrTooLarge},
		"text":            {[]byte("certificate"), certificate.ErrNotPEM},
		"a key":           {aliceKey().PEM(), certificate.ErrNotPEM},
		"a key behind":    {append(leaf(nil), aliceKey().PEM()...), certificate.ErrNotPEM},
		"damaged":         {block("CERTIFICATE", []byte("x")), certificate.ErrUnreadable},
		"damaged behind":  {append(leaf(nil), block("CERTIFICATE", []byte("x"))...), certificate.ErrUnreadable},
		"another's key":   {clients().issue(bobKey().Public(), nil), certificate.ErrOtherKey},
		"authority first": {append(clients().pem(), leaf(nil)...), certificate.ErrOtherKey},
		"another's name":  {subject(pkix.Name{CommonName: owner.CommonName("bob")}), certificate.ErrOtherName},
		"old generation": {
			subject(pkix.Name{CommonName: certificate.CommonName(owner.ClusterID, owner.Project, owner.Cloud, "alice", owner.Generation-1)}), certificate.ErrOtherName,
		},
		"no name":         {subject(pkix.Name{}), certificate.ErrOtherName},
		"an organisation": {subject(pkix.Name{CommonName: name, Organization: []string{"system:masters"}}), certificate.ErrOrganization},
		"a unit":          {subject(pkix.Name{CommonName: name, OrganizationalUnit: []string{"x"}}), certificate.ErrOtherName},
		"a user ID behind": {subject(pkix.Name{CommonName: name, ExtraNames: []pkix.AttributeTypeAndValue{
			{Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}, Value: "x"},
		}}), certificate.ErrOtherName},
		"an authority's": {leaf(func(c *x509.Certificate) { c.IsCA = true }), certificate.ErrAuthority},
		"for servers":    {leaf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), certificate.ErrUsage},
		"for anything":   {leaf(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), certificate.ErrUsage},
		"not to sign":    {leaf(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), certificate.ErrUsage},
		"expired":        {leaf(func(c *x509.Certificate) { c.NotAfter = now }), certificate.ErrExpired},
		"not yet":        {leaf(func(c *x509.Certificate) { c.NotBefore = now.Add(certificate.Skew + time.Second) }), certificate.ErrNotYetValid},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			i := issued(c.text)
			i.Authority = clients().pem()
			got, err := certificate.Check(i)
			require.ErrorIs(t, err, c.is)
			require.NotErrorIs(t, err, certificate.ErrOtherAuthority)
			require.Zero(t, got)
		})
	}
}

// A cluster may sign clients with another authority than the one in its kubeconfig:
// that is told, and the caller has the certificate all the same.
func TestCheckOtherAuthority(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct{ text, authority []byte }{
		"another":           {clients().issue(aliceKey().Public(), nil), servers().pem()},
		"not readable":      {clients().issue(aliceKey().Public(), nil), []byte("x")},
		"one between lacks": {between().issue(aliceKey().Public(), nil), clients().pem()},
		"an expired one": {
			clients().issue(aliceKey().Public(), func(c *x509.Certificate) { c.NotAfter = now.Add(9000 * time.Hour) }), clients().pem(),
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			i := issued(c.text)
			i.Authority = c.authority
			if what == "an expired one" {
				i.Now = now.Add(2000 * time.Hour)
			}
			got, err := certificate.Check(i)
			require.ErrorIs(t, err, certificate.ErrOtherAuthority)
			i.Authority = nil
			want, err := certificate.Check(i)
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}
