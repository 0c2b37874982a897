package api

import (
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Role is what a caller may do.
type Role string

// Roles, from all to least: an admin may do everything, an operator hands out
// and takes back keys, a viewer reads what is public anyway.
const (
	RoleAdmin    Role = "admin"
	RoleOperator Role = "operator"
	RoleViewer   Role = "viewer"
)

// Caller is who sends a request.
type Caller struct {
	// Name of the token; "anonymous" where none is needed.
	Name string
	Role Role
	// Remote is the host that the request came from.
	Remote string
}

func (c Caller) proto() *fsmpb.Caller {
	return &fsmpb.Caller{Name: c.Name, Role: string(c.Role), Remote: c.Remote}
}

// access says who may call a route. Its zero value lets nobody in.
type access struct {
	roles []Role
	// open tells which requests need no token.
	open func(*Server, *http.Request) bool
}

var (
	admins   = access{roles: []Role{RoleAdmin}}
	changers = access{roles: []Role{RoleAdmin, RoleOperator}}
	readers  = access{roles: []Role{RoleAdmin, RoleOperator, RoleViewer}}

	everybody = access{open: func(*Server, *http.Request) bool { return true }}
	// assignmentReaders: everybody where the server is told so.
	assignmentReaders = access{
		roles: readers.roles,
		open:  func(s *Server, _ *http.Request) bool { return s.cfg.AssignmentsPublic },
	}
	// metricsReaders: whoever is on the same machine, and not behind a proxy there.
	metricsReaders = access{
		roles: readers.roles,
		open: func(_ *Server, r *http.Request) bool {
			return isLoopback(r.RemoteAddr) && r.Header.Get("X-Forwarded-For") == "" && r.Header.Get("Forwarded") == ""
		},
	}
)

// authorize decides who is asking and whether they may; nothing else does.
func (s *Server) authorize(a access, r *http.Request) (Caller, error) {
	remote, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		remote = r.RemoteAddr
	}
	if a.open != nil && a.open(s, r) {
		return Caller{Name: "anonymous", Remote: remote}, nil
	}
	token, given := bearer(r)
	if !given {
		return Caller{}, s.refuse(remote, challenge("", "send the header Authorization: Bearer <token>"))
	}
	caller, known := s.cfg.Tokens.Lookup(token)
	if !known {
		return Caller{}, s.refuse(remote, challenge(`, error="invalid_token"`, "the token is not one of this cluster's"))
	}
	caller.Remote = remote
	if !slices.Contains(a.roles, caller.Role) {
		return Caller{}, s.refuse(remote, newProblem(forbidden, "%s has the role %s, which may not do this", caller.Name, caller.Role))
	}
	return caller, nil
}

// bearer returns the token of the request (RFC 6750).
func bearer(r *http.Request) (token string, given bool) {
	scheme, token, found := strings.Cut(r.Header.Get("Authorization"), " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.TrimSpace(token), true
}

func challenge(more, detail string) *problem {
	p := newProblem(unauthenticated, "%s", detail)
	p.challenge = `Bearer realm="keysteward"` + more
	return p
}

// refuse logs a refused caller, not too often, and returns the problem.
func (s *Server) refuse(remote string, p *problem) error {
	if s.refused.Allow() {
		s.log.Warn("refused a caller", "remote", remote, "reason", p.detail)
	}
	return p
}
