package api

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/kubernetes/podtoken"
)

// Who may no longer have keys when they are there gets none, however long ago it asked.
func TestHeldRequestOfACallerWhoIsNoneAnyMore(t *testing.T) {
	t.Parallel()
	pods := func(c *Config) {
		c.Pods = anyPod
		c.PodTokens = fakePods{"web": {Namespace: "default", Name: "web-0", UID: "u"}}
	}
	for name, c := range map[string]struct {
		as     func(h *harness) requestOption
		ends   func(h *harness, as requestOption)
		status int
	}{
		"token that is revoked": {
			func(h *harness) requestOption { return bearing(h.state("ci", RoleOperator, time.Time{})) },
			func(h *harness, as requestOption) { h.revoke(sentToken(as)) },
			http.StatusUnauthorized,
		},
		"token that ends": {
			func(h *harness) requestOption {
				return bearing(h.state("ci", RoleOperator, time.Now().Add(10*time.Second)))
			},
			func(*harness, requestOption) { <-time.After(10 * time.Second) },
			http.StatusUnauthorized,
		},
		"certificate that ends": {
			func(*harness) requestOption {
				return withCertificate(&x509.Certificate{
					SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(10 * time.Second),
					Subject: pkix.Name{CommonName: "jane", Organization: []string{"keysteward:operator"}},
				})
			},
			func(*harness, requestOption) { <-time.After(11 * time.Second) },
			http.StatusForbidden,
		},
		"pod that is deleted": {
			func(*harness) requestOption { return bearing(podToken("web")) },
			func(h *harness, _ requestOption) { delete(h.server.cfg.PodTokens.(fakePods), "web") }, //nolint:forcetypeassert // so it was made
			http.StatusUnauthorized,
		},
		"pod of another UID": {
			func(*harness) requestOption { return bearing(podToken("web")) },
			func(h *harness, _ requestOption) {
				h.server.cfg.PodTokens.(fakePods)["web"] = podtoken.Pod{Namespace: "default", Name: "web-0", UID: "v"} //nolint:forcetypeassert // so it was made
			},
			http.StatusForbidden,
		},
		"nobody whose right ends": {
			func(h *harness) requestOption { return bearing(h.tokens[RoleOperator]) },
			func(*harness, requestOption) { <-time.After(11 * time.Second) },
			http.StatusOK,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := seeded(t, pods)
				as := c.as(h)
				noToken := func(r *http.Request) { r.Header.Del("Authorization") }
				w, _ := holding(t, h, func() {
					c.ends(h, as)
					h.node.finish()
				}, noToken, as)
				require.Equal(t, c.status, w.Code, w.Body)
				if c.status != http.StatusOK {
					require.Equal(t, 1, h.node.proposals(), "nothing was disclosed, or recorded as such")
				}
				h.server.stop()
			})
		})
	}
}

// sentToken is the token that a request option sends.
func sentToken(as requestOption) string {
	r := &http.Request{Header: http.Header{}}
	as(r)
	token, _ := bearer(r)
	return token
}
