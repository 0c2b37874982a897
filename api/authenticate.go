package api

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/kubernetes/podtoken"
)

// PodTokens checks the service-account tokens of pods. Errors wrap
// [podtoken.ErrRefused] or [podtoken.ErrUnavailable].
type PodTokens interface {
	// Review returns the pod that the token was made for.
	Review(ctx context.Context, token string) (podtoken.Pod, error)
}

// authenticate finds out who is asking: by the bearer token if there is one, which
// then decides, else by the client certificate.
func (s *Server) authenticate(r *http.Request, remote string) (Caller, error) {
	if token, given := bearer(r); given {
		return s.authenticateToken(r.Context(), token, remote)
	}
	certificate := certificateOf(r)
	if certificate == nil {
		return Caller{}, s.refuse(remote, "no-credentials", challenge("", "send the header Authorization: Bearer <token>"))
	}
	caller, err := s.cfg.Certificates.Lookup(certificate, time.Now())
	if err != nil {
		return Caller{}, s.refuse(remote, "certificate", newProblem(forbidden, "%v", err))
	}
	return caller, nil
}

// authenticateToken turns away whoever had too many wrong tokens before it spends
// anything on another one.
func (s *Server) authenticateToken(ctx context.Context, token, remote string) (Caller, error) {
	if wait := s.logins.closed(remote, token); wait > 0 {
		p := newProblem(tooManyRequests, "too many wrong tokens came from this address, or to this node in all")
		p.retry = wait
		return Caller{}, s.refuse(remote, "too-many-logins", p)
	}
	caller, reason, err := s.ownerOf(ctx, token)
	switch {
	case err == nil:
		s.logins.succeeded(token)
		return caller, nil
	case reason != "kubernetes-unavailable" && reason != "pod-not-listed":
		s.logins.failed(remote)
	}
	return Caller{}, s.refuse(remote, reason, err)
}

// ownerOf finds the caller whose token this is: in the server's file, in this
// node's state, or among the pods. Hashes are compared, so the time that it takes
// tells nothing about any token of the first two.
func (s *Server) ownerOf(ctx context.Context, token string) (caller Caller, reason string, p *problem) {
	hash := sha256.Sum256([]byte(token))
	now := time.Now()
	caller, expires, known := s.cfg.Tokens.lookup(hash)
	if !known {
		if t := s.node.View().TokenBySHA256(hash); t != nil {
			caller, expires, known = callerOf(t), wallTime(t.GetExpiresWallMs()), true
		}
	}
	switch {
	case known && !expires.IsZero() && !now.Before(expires):
		return Caller{}, "expired-token", challenge(`, error="invalid_token"`, "the token has expired")
	case known:
		return caller, "", nil
	case s.cfg.PodTokens == nil || !podtoken.Shaped(token):
		return Caller{}, "unknown-token", challenge(`, error="invalid_token"`, "the token is not one of this cluster's")
	}
	pod, err := s.cfg.PodTokens.Review(ctx, token)
	switch {
	case errors.Is(err, podtoken.ErrRefused):
		return Caller{}, "pod-token", challenge(`, error="invalid_token"`, err.Error())
	case err != nil:
		p := newProblem(kubernetesAway, "%v", err)
		p.retry = 2 * time.Second
		return Caller{}, "kubernetes-unavailable", p
	}
	if caller, p = s.cfg.Pods.podCaller(pod); p != nil {
		return Caller{}, "pod-not-listed", p
	}
	return caller, "", nil
}

// callerOf is the caller of a token of the state.
func callerOf(t *fsmpb.Token) Caller {
	return Caller{
		Name: t.GetName(), Role: Role(t.GetRole()), Namespaces: t.GetNamespaces(), Projects: t.GetProjects(),
		Method: byToken, Credential: t.GetId(),
	}
}

// bearer returns the token of the request (RFC 6750).
func bearer(r *http.Request) (token string, given bool) {
	scheme, token, found := strings.Cut(r.Header.Get("Authorization"), " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.TrimSpace(token), true
}

// certificateOf is the client's certificate where the TLS handshake has proven that
// one of the client authorities vouches for it; nil otherwise.
func certificateOf(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.VerifiedChains[0]) == 0 {
		return nil
	}
	return r.TLS.VerifiedChains[0][0]
}

// tokenIDOf names a token by a part of its hash, as the state machine does.
func tokenIDOf(hash [sha256.Size]byte) string { return hex.EncodeToString(hash[:8]) }

func challenge(more, detail string) *problem {
	p := newProblem(unauthenticated, "%s", detail)
	p.challenge = `Bearer realm="keysteward"` + more
	return p
}
