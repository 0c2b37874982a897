package api

import (
	"context"
	"net"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"
)

// access says who may call a route. Its zero value lets nobody in.
type access struct {
	roles []Role
	// open tells which requests need no caller.
	open func(*Server, *http.Request) bool
	// object names what the call is about, for callers that are limited to a part
	// of the cluster. Without it a call is about the whole cluster, and they are
	// refused.
	object func(*Server, *call) (object, error)
	// keeps: the call only ever keeps a pod in its place. While Kubernetes can not be
	// asked, a token that it vouched for before will do.
	keeps bool
}

// keepsItsPlace marks the context of a call to such a route.
type keepsItsPlace struct{}

// object is what a call is about.
type object struct {
	// filtered: the answer shows a caller no more than is its own.
	filtered bool
	// The pod; its UID is empty where the call does not name it.
	namespace, pod, uid string
	// word: the call is an operator's word about a pod, which no pod can give.
	word bool
	// clouds: the call is about something under /v2, and project is the one that it is
	// below of; empty for what projects share.
	clouds  bool
	project string
}

var (
	admins   = access{roles: []Role{RoleAdmin}}
	changers = access{roles: []Role{RoleAdmin, RoleOperator}}
	readers  = access{roles: []Role{RoleAdmin, RoleOperator, RoleViewer}}

	// With their own pod, or with what is theirs among all.
	allocators = access{roles: []Role{RoleAdmin, RoleOperator, RolePod}, object: podOfBody}
	releasers  = access{roles: []Role{RoleAdmin, RoleOperator, RolePod}, object: podOfPath}
	keepers    = access{roles: releasers.roles, object: podOfPath, keeps: true}
	podReaders = access{roles: []Role{RoleAdmin, RoleOperator, RoleViewer, RolePod}, object: podOfPath}
	ownReaders = access{roles: readers.roles, object: whatIsTheirs}
	allReaders = access{roles: podReaders.roles, object: whatIsTheirs}

	// With the projects that are theirs; the last ones see what projects share, too.
	projectMakers   = access{roles: changers.roles, object: projectOfBody}
	projectChangers = access{roles: changers.roles, object: projectOfPath}
	projectReaders  = access{roles: readers.roles, object: projectOfPath}
	sharedReaders   = access{roles: readers.roles, object: whatProjectsShare}

	everybody = access{open: func(*Server, *http.Request) bool { return true }}
	// assignmentReaders: everybody where the server is told so.
	assignmentReaders = access{
		roles:  readers.roles,
		open:   func(s *Server, _ *http.Request) bool { return s.cfg.AssignmentsPublic },
		object: whatIsTheirs,
	}
	// metricsReaders: whoever is on the same machine, and not behind a proxy there.
	metricsReaders = access{
		roles: readers.roles,
		open: func(_ *Server, r *http.Request) bool {
			return isLoopback(r.RemoteAddr) && r.Header.Get("X-Forwarded-For") == "" && r.Header.Get("Forwarded") == ""
		},
	}
)

// authorize decides who is asking, and whether callers of that role may. Nothing
// else does, but permit below, which every call passes too.
func (s *Server) authorize(r route, request *http.Request) (Caller, error) {
	remote, _, err := net.SplitHostPort(request.RemoteAddr)
	if err != nil {
		remote = request.RemoteAddr
	}
	if r.access.open != nil && r.access.open(s, request) {
		caller := Caller{Name: "anonymous", Remote: remote}
		if r.runs == aside { // probes and scrapers come as often as they like
			return caller, nil
		}
		return caller, s.paced(caller)
	}
	if r.access.keeps {
		request = request.WithContext(context.WithValue(request.Context(), keepsItsPlace{}, true))
	}
	caller, err := s.authenticate(request, remote)
	if err != nil {
		return Caller{}, err
	}
	caller.Remote = remote
	if err := s.paced(caller); err != nil {
		return Caller{}, err
	}
	return caller, s.inRole(r.access, caller)
}

func (s *Server) inRole(a access, caller Caller) error {
	if slices.Contains(a.roles, caller.Role) {
		return nil
	}
	return s.refuse(caller.Remote, "role", newProblem(forbidden, "%s has the role %s, which may not do this", caller.Name, caller.Role))
}

// again decides anew about a call that was held: its token may have been revoked
// meanwhile, its certificate may have ended, its pod may be gone. It is one request
// all the same, so its pace is not counted twice.
func (s *Server) again(c *call) error {
	a := routeOf(c.echo).access
	caller, err := s.authenticate(c.echo.Request(), c.caller.Remote)
	if err != nil {
		return err
	}
	caller.Remote = c.caller.Remote
	if err := s.inRole(a, caller); err != nil {
		return err
	}
	c.caller = caller
	return s.permit(a, c)
}

// permit decides whether what the call is about is the caller's. A handler learns
// from nowhere else which pod is meant.
func (s *Server) permit(a access, c *call) error {
	refuse := func(format string, args ...any) error {
		return s.refuse(c.caller.Remote, "limits", newProblem(forbidden, format, args...))
	}
	if a.object == nil {
		if c.caller.limited() {
			return refuse("%s is limited %s, and this concerns the whole cluster", c.caller.Name, c.caller.limits())
		}
		return nil
	}
	o, err := a.object(s, c)
	if err != nil {
		return err
	}
	switch own := c.caller.Pod; {
	case o.filtered:
	case o.clouds && c.caller.seesClouds() && (o.project == "" || c.caller.seesProject(o.project)):
	case o.clouds:
		return refuse("%s is limited %s, and this concerns %s", c.caller.Name, c.caller.limits(), o.ofClouds())
	case !c.caller.sees(o.namespace, o.pod):
		return refuse("%s is limited %s, and this concerns pod %s/%s", c.caller.Name, c.caller.limits(), o.namespace, o.pod)
	case own == nil:
	case o.uid != "" && o.uid != own.UID:
		return refuse("pod %s has the UID %s, not %s", c.caller.Name, own.UID, o.uid)
	case o.word:
		return refuse("that a pod is stopped is for an operator to say, not for the pod")
	}
	c.object = o
	return nil
}

// ofClouds says in words what is concerned under /v2.
func (o object) ofClouds() string {
	if o.project == "" {
		return "logical clouds"
	}
	return "project " + o.project
}

// whatIsTheirs is for answers in which everybody sees what is their own.
func whatIsTheirs(*Server, *call) (object, error) { return object{filtered: true}, nil }

// whatProjectsShare is for names that whoever has a project needs, and for lists of
// which everybody with projects sees their own.
func whatProjectsShare(*Server, *call) (object, error) { return object{clouds: true}, nil }

// projectOfPath is the project that the path names.
func projectOfPath(_ *Server, c *call) (object, error) {
	names, err := c.names(projectParam)
	if err != nil {
		return object{}, err
	}
	return object{clouds: true, project: names[0]}, nil
}

// projectOfBody is a project that is to be made.
func projectOfBody(_ *Server, c *call) (object, error) {
	body, err := jsonBody(c)
	if err != nil {
		return object{}, err
	}
	name := metadataIn(body.object("metadata")).GetName()
	return object{clouds: true, project: name}, body.finish(false)
}

// podOfPath is the pod that the path names, and its UID if the query does.
func podOfPath(_ *Server, c *call) (object, error) {
	namespace, name, err := c.pod()
	if err != nil {
		return object{}, err
	}
	uid, err := c.podUID()
	if err != nil {
		return object{}, err
	}
	word, err := c.flag("confirmStopped")
	if err != nil {
		return object{}, err
	}
	if own := c.caller.Pod; own != nil && uid == "" && c.caller.sees(namespace, name) {
		uid = own.UID // a pod speaks for no other of its name
	}
	return object{namespace: namespace, pod: name, uid: uid, word: word}, nil
}

// podOfBody is the pod of an allocation's request. A pod need not name itself.
func podOfBody(_ *Server, c *call) (object, error) {
	body, err := bodyOf[allocationBody](c)
	if err != nil {
		return object{}, err
	}
	if own := c.caller.Pod; own != nil {
		for _, f := range []struct {
			given *string
			own   string
		}{{&body.Namespace, own.Namespace}, {&body.Pod, own.Name}, {&body.PodUID, own.UID}} {
			if *f.given == "" {
				*f.given = f.own
			}
		}
	}
	if err := checkNames(body.Namespace, body.Pod); err != nil {
		return object{}, err
	}
	return object{namespace: body.Namespace, pod: body.Pod, uid: body.PodUID}, nil
}

// refused is a caller who was refused.
type refused struct{ remote, reason string }

// refuse counts a refused caller and returns the problem, which the log is told of when it is
// answered.
func (s *Server) refuse(remote, reason string, p *problem) error {
	s.metrics.refused.WithLabelValues(reason).Inc()
	p.refused = &refused{remote: remote, reason: reason}
	return p
}

// logRefused logs a refused caller, not too often.
func (s *Server) logRefused(p *problem, e echo.Context) {
	if p.refused == nil {
		return
	}
	if !s.refused.Allow() {
		s.unlogged.Add(1)
		return
	}
	s.log.Warn("refused a caller", "request_id", requestID(e), "remote", p.refused.remote, "why", p.refused.reason,
		"reason", p.detail, "notLogged", s.unlogged.Swap(0))
}
