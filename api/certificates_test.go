package api

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func roleFile(t *testing.T, text string) (*CertificateRoles, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "roles.json")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return OpenCertificateRoles(path, nil)
}

func certificateFor(cn string, organizations ...string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(4095), NotAfter: time.Now().Add(time.Hour),
		Subject: pkix.Name{CommonName: cn, Organization: organizations},
	}
}

func TestCertificatesByOrganization(t *testing.T) {
	t.Parallel()
	var roles *CertificateRoles
	for name, c := range map[string]struct {
		certificate *x509.Certificate
		role        Role
		why         string
	}{
		"admin":          {certificateFor("jane", "keysteward:admin"), RoleAdmin, ""},
		"among others":   {certificateFor("jane", "ops", "keysteward:viewer"), RoleViewer, ""},
		"none":           {certificateFor("jane", "ops"), "", "gives no role"},
		"no subject":     {certificateFor(""), "", "gives no role"},
		"several":        {certificateFor("jane", "keysteward:admin", "keysteward:viewer"), "", "several roles"},
		"unknown":        {certificateFor("jane", "keysteward:root"), "", `the role "root"`},
		"a pod":          {certificateFor("jane", "keysteward:pod"), "", `the role "pod"`},
		"no name":        {certificateFor("", "keysteward:admin"), "", "no common name"},
		"malformed name": {certificateFor("jane\nroot", "keysteward:admin"), "", "no common name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			caller, err := roles.Lookup(c.certificate, time.Now())
			if c.why != "" {
				require.ErrorContains(t, err, c.why)
				require.Empty(t, caller)
				return
			}
			require.NoError(t, err)
			require.Equal(t, Caller{Name: "jane", Role: c.role, Method: "certificate", Credential: "fff"}, caller)
		})
	}
	_, err := roles.Lookup(certificateFor("jane", "keysteward:admin"), time.Now().Add(2*time.Hour))
	require.ErrorContains(t, err, "expired", "connections outlive certificates")
}

func TestCertificatesByFile(t *testing.T) {
	t.Parallel()
	roles, err := roleFile(t, `{"certificates":[
		{"commonName":"jane","organization":"ops","role":"admin"},
		{"organization":"ops","role":"operator","namespaces":["staging"],"projects":["p"]},
		{"dnsName":"ci.example.org","name":"ci","role":"viewer"},
		{"uri":"spiffe://example.org/x","name":"x","role":"viewer"},
		{"email":"joe@example.org","name":"joe","role":"operator"}]}`)
	require.NoError(t, err)
	uri, err := url.Parse("spiffe://example.org/x")
	require.NoError(t, err)
	with := func(change func(*x509.Certificate)) *x509.Certificate {
		c := certificateFor("")
		change(c)
		return c
	}
	for name, c := range map[string]struct {
		certificate *x509.Certificate
		want        Caller
	}{
		"both":    {certificateFor("jane", "ops"), Caller{Name: "jane", Role: RoleAdmin}},
		"limited": {certificateFor("joe", "dev", "ops"), Caller{Name: "joe", Role: RoleOperator, Namespaces: []string{"staging"}, Projects: []string{"p"}}},
		"DNS":     {with(func(c *x509.Certificate) { c.DNSNames = []string{"a", "ci.example.org"} }), Caller{Name: "ci", Role: RoleViewer}},
		"URI":     {with(func(c *x509.Certificate) { c.URIs = []*url.URL{uri} }), Caller{Name: "x", Role: RoleViewer}},
		"email":   {with(func(c *x509.Certificate) { c.EmailAddresses = []string{"joe@example.org"} }), Caller{Name: "joe", Role: RoleOperator}},
	} {
		caller, err := roles.Lookup(c.certificate, time.Now())
		require.NoError(t, err, name)
		c.want.Method, c.want.Credential = "certificate", "fff"
		require.Equal(t, c.want, caller, name)
	}
	for _, c := range []*x509.Certificate{certificateFor("jane"), certificateFor("jane", "keysteward:admin"), certificateFor("")} {
		_, err := roles.Lookup(c, time.Now())
		require.ErrorContains(t, err, "no entry", "with a file the organization alone gives no role")
	}
}

func TestRoleFilesThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty":          "",
		"fits all":       `{"certificates":[{"role":"viewer"}]}`,
		"no role":        `{"certificates":[{"commonName":"a"}]}`,
		"pod":            `{"certificates":[{"commonName":"a","role":"pod"}]}`,
		"unknown field":  `{"certificates":[{"commonName":"a","role":"viewer","cn":"b"}]}`,
		"bad name":       `{"certificates":[{"commonName":"a","name":"a b","role":"viewer"}]}`,
		"bad namespace":  `{"certificates":[{"commonName":"a","role":"viewer","namespaces":["A"]}]}`,
		"namespace none": `{"certificates":[{"commonName":"a","role":"viewer","namespaces":[""]}]}`,
	} {
		_, err := roleFile(t, text)
		require.ErrorIs(t, err, ErrCertificateRoles, name)
	}
	_, err := OpenCertificateRoles("/no/such/file", nil)
	require.ErrorIs(t, err, ErrCertificateRoles)
}

func TestCertificateOverHTTP(t *testing.T) {
	t.Parallel()
	h := seeded(t)
	ask := func(as ...requestOption) int { return h.do("", http.MethodGet, "/v1/cluster", "", as...).Code }
	require.Equal(t, http.StatusOK, ask(certified(RoleViewer)))
	require.Equal(t, http.StatusForbidden, ask(withCertificate(certificateFor("jane"))))
	require.Equal(t, http.StatusUnauthorized, ask(certified(RoleAdmin), bearing("kst_wrong")), "a token decides where there is one")
	require.Equal(t, http.StatusUnauthorized, ask(func(r *http.Request) {
		certified(RoleAdmin)(r)
		r.TLS.VerifiedChains = nil
	}), "a certificate that nobody verified is none")
	path := fmt.Sprintf("/v1/allocations/default/web?fence=%d", h.held("web", "u", 1).Fence)
	require.Equal(t, http.StatusNoContent, h.do("", http.MethodDelete, path, "", certified(RoleOperator)).Code)
	by := h.by()
	require.Equal(t, []string{"jane", "operator", "certificate", "ff"}, []string{by.GetName(), by.GetRole(), by.GetMethod(), by.GetCredential()})
}

func FuzzRoleFile(f *testing.F) {
	f.Add([]byte(`{"certificates":[{"commonName":"jane","role":"admin","namespaces":["a"]}]}`), "jane", "ops")
	f.Add([]byte(`{"certificates":[{"organization":"ops","role":"viewer"}]}`), "", "ops")
	f.Fuzz(func(t *testing.T, text []byte, cn, organization string) {
		entries, err := parseCertificateRoles(text)
		if err != nil {
			return
		}
		r := &CertificateRoles{file: &watched[[]certificateEntry]{value: entries, checked: time.Now().Add(time.Hour)}}
		caller, err := r.Lookup(certificateFor(cn, organization), time.Now())
		if err == nil {
			require.Contains(t, givenRoles, caller.Role)
			require.Regexp(t, saneTokenName, caller.Name)
			return
		}
		require.Empty(t, caller)
	})
}

func FuzzTokenFile(f *testing.F) {
	f.Add([]byte(`{"tokens":[{"name":"a","role":"admin","sha256":"` + hexText(make([]byte, 32))[2:] + `","namespaces":["x"],"expires":"2030-01-01T00:00:00Z"}]}`))
	f.Add([]byte(`{"tokens":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		tokens, err := parseTokens(text)
		if err != nil {
			return
		}
		for hash, token := range tokens {
			require.Contains(t, givenRoles, token.caller.Role)
			require.Regexp(t, saneTokenName, token.caller.Name)
			require.Equal(t, tokenIDOf(hash), token.caller.Credential)
			require.NoError(t, checkLimits(token.caller.Namespaces, token.caller.Projects))
		}
	})
}
