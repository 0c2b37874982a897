package api

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/podtoken"
)

func bearing(token string) requestOption { return header("Authorization", "Bearer "+token) }

// certified sends a client certificate that names the role.
func certified(role Role) requestOption {
	return withCertificate(&x509.Certificate{
		SerialNumber: big.NewInt(255), NotAfter: time.Now().Add(time.Hour),
		Subject: pkix.Name{CommonName: "jane", Organization: []string{certificateRolePrefix + string(role)}},
	})
}

// withCertificate is what crypto/tls makes of a client certificate that it verified.
func withCertificate(c *x509.Certificate) requestOption {
	return func(r *http.Request) {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}, VerifiedChains: [][]*x509.Certificate{{c}}}
	}
}

// state mints a token of the replicated state.
func (h *harness) state(name string, role Role, expires time.Time, namespaces ...string) string {
	h.Helper()
	token, _ := NewToken()
	hash := sha256.Sum256([]byte(token))
	x := &fsmpb.Token{Name: name, Role: string(role), Namespaces: namespaces, Sha256: hash[:]}
	if !expires.IsZero() {
		x.ExpiresWallMs = expires.UnixMilli()
	}
	h.node.must(&fsmpb.Command{Body: &fsmpb.Command_CreateToken{CreateToken: &fsmpb.CreateToken{Token: x}}})
	return token
}

func (h *harness) revoke(token string) {
	h.Helper()
	id := tokenIDOf(sha256.Sum256([]byte(token)))
	h.node.must(&fsmpb.Command{Body: &fsmpb.Command_RevokeToken{RevokeToken: &fsmpb.RevokeToken{Id: id}}})
}

// podToken looks like the token of Kubernetes that fakePods knows by this name.
func podToken(name string) string { return "eyJ." + name + ".x" }

// fakePods are the tokens that Kubernetes knows.
type fakePods map[string]podtoken.Pod

func (f fakePods) Look(token string) error {
	if strings.Contains(token, "garbage") {
		return fmt.Errorf("%w: garbage", podtoken.ErrRefused)
	}
	return nil
}

func (f fakePods) Review(_ context.Context, token string) (podtoken.Pod, error) {
	if strings.Contains(token, "away") {
		return podtoken.Pod{}, fmt.Errorf("%w: no connection", podtoken.ErrUnavailable)
	}
	pod, known := f[strings.TrimSuffix(strings.TrimPrefix(token, "eyJ."), ".x")]
	if !known {
		return podtoken.Pod{}, fmt.Errorf("%w: nobody knows it", podtoken.ErrRefused)
	}
	return pod, nil
}

// Recall knows those that were let in when Kubernetes is away: their names say so.
func (f fakePods) Recall(token string) (podtoken.Pod, bool) {
	pod, known := f[strings.TrimSuffix(strings.TrimPrefix(token, "eyJ."), ".x")]
	return pod, known
}

var anyPod = PodRules{{namespace: anyName, account: anyName, keys: 50}}

func withPods(pods map[string]podtoken.Pod) func(*Config) {
	return func(c *Config) { c.PodTokens, c.Pods = fakePods(pods), anyPod }
}

// by is who the state machine was told to have asked for the last command.
func (h *harness) by() *fsmpb.Caller {
	h.Helper()
	h.node.mu.Lock()
	defer h.node.mu.Unlock()
	require.NotEmpty(h, h.node.proposed)
	return h.node.proposed[len(h.node.proposed)-1].GetCaller()
}
