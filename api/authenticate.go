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
	"github.com/keysteward/keysteward/node/failpoint"
	"github.com/keysteward/keysteward/node/kubernetes/podtoken"
)

// PodTokens checks the service-account tokens of pods. Errors wrap
// [podtoken.ErrRefused] or [podtoken.ErrUnavailable].
type PodTokens interface {
	// Look refuses a token that can be no pod's, without asking anybody.
	Look(token string) error
	// Review returns the pod that the token was made for.
	Review(ctx context.Context, token string) (podtoken.Pod, error)
	// Recall returns the pod of a token that was reviewed before and has not ended.
	Recall(token string) (podtoken.Pod, bool)
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
	caller, err := s.cfg.Certificates.Lookup(certificate, failpoint.Now())
	if err != nil {
		return Caller{}, s.refuse(remote, "certificate", newProblem(forbidden, "%v", err))
	}
	return caller, nil
}

// authenticateToken looks a token up, which costs next to nothing, whoever sends it
// and however many wrong ones came before. What costs, a review by Kubernetes, is
// bounded by whose tokens it refused.
func (s *Server) authenticateToken(ctx context.Context, token, remote string) (Caller, error) {
	caller, expires, suspended, known := s.ownerOf(token)
	switch {
	case suspended:
		return Caller{}, s.refuse(remote, "suspended-token", challenge(`, error="invalid_token"`, "the token came with a restored backup and is suspended: an administrator confirms it with keysteward tokens confirm, or makes another one"))
	case known && !expires.IsZero() && !failpoint.Now().Before(expires):
		return Caller{}, s.refuse(remote, "expired-token", challenge(`, error="invalid_token"`, "the token has expired"))
	case known:
		return caller, nil
	case s.cfg.PodTokens == nil || !podtoken.Shaped(token):
		return Caller{}, s.wrongToken(remote, "unknown-token", "the token is not one of this cluster's")
	}
	if err := s.cfg.PodTokens.Look(token); err != nil {
		return Caller{}, s.wrongToken(remote, "pod-token", err.Error())
	}
	return s.authenticatePod(ctx, token, remote)
}

// ownerOf finds the caller whose token this is in the server's file or in this
// node's state. Hashes are compared, so the time that it takes tells nothing about
// any token.
func (s *Server) ownerOf(token string) (caller Caller, expires time.Time, suspended, known bool) {
	hash := sha256.Sum256([]byte(token))
	if caller, expires, known = s.cfg.Tokens.lookup(hash); known {
		return caller, expires, false, true
	}
	if t := s.node.View().TokenBySHA256(hash); t != nil {
		return callerOf(t), wallTime(t.GetExpiresWallMs()), t.GetSuspended(), true
	}
	return Caller{}, time.Time{}, false, false
}

// wrongToken refuses a token that is nobody's, and tells whoever has too many of
// them to come more slowly.
func (s *Server) wrongToken(remote, reason, detail string) error {
	if wait := s.logins.wrong.count(remote); wait > 0 {
		return s.tooManyLogins(remote, wait)
	}
	return s.refuse(remote, reason, challenge(`, error="invalid_token"`, detail))
}

func (s *Server) tooManyLogins(remote string, wait time.Duration) error {
	p := newProblem(tooManyRequests, "this token lets nobody in that is known here, and too many such came from this address, or to this node in all")
	p.retry = wait
	return s.refuse(remote, "too-many-logins", p)
}

// authenticatePod asks Kubernetes whose token it is, if it may be asked.
func (s *Server) authenticatePod(ctx context.Context, token, remote string) (Caller, error) {
	if wait := s.logins.closed(remote, token); wait > 0 {
		return Caller{}, s.tooManyLogins(remote, wait)
	}
	pod, err := s.cfg.PodTokens.Review(ctx, token)
	switch {
	case errors.Is(err, podtoken.ErrRefused):
		s.logins.reviews.count(remote)
		return Caller{}, s.refuse(remote, "pod-token", challenge(`, error="invalid_token"`, err.Error()))
	case err != nil && ctx.Value(keepsItsPlace{}) != nil:
		if pod, known := s.cfg.PodTokens.Recall(token); known {
			return s.callerOfPod(pod, remote)
		}
	}
	if err != nil {
		p := newProblem(kubernetesAway, "%v", err)
		p.retry = 2 * time.Second
		return Caller{}, s.refuse(remote, "kubernetes-unavailable", p)
	}
	s.logins.succeeded(token)
	return s.callerOfPod(pod, remote)
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
