package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

// route is a row of the table: an operation of openapi.yaml, who may call it,
// which node answers, and the query parameters that it knows.
type route struct {
	method string
	path   string
	access access
	runs   place
	query  []string
	handle func(*Server, *call) (answer, error)
}

// routes lists every operation. Nothing is served that is not here, but HEAD for
// each GET.
func routes() []route {
	const get, post, del = http.MethodGet, http.MethodPost, http.MethodDelete
	page := []string{"state", "cursor", "limit", consistencyParam}
	one := []string{consistencyParam}
	return append([]route{
		{post, "/v1/allocations", allocators, onLeader, []string{"wait"}, withBody((*Server).allocate)},
		{get, "/v1/allocations", ownReaders, reads, one, (*Server).listAllocations},
		{get, "/v1/allocations/{namespace}/{pod}", podReaders, reads, one, (*Server).getAllocation},
		{del, "/v1/allocations/{namespace}/{pod}", releasers, onLeader, []string{"fence", "podUid", "confirmStopped"}, (*Server).release},
		{post, "/v1/allocations/{namespace}/{pod}/lease", keepers, onLeader, []string{"podUid", "fence", "begin"}, (*Server).renewLease},
		{get, "/assignments", assignmentReaders, staleReads, one, (*Server).assignments},
		{get, "/allocations", assignmentReaders, staleReads, one, (*Server).assignments},
		{get, "/v1/keys", ownReaders, reads, page, (*Server).listKeys},
		{get, "/v1/keys/{pubkey}", allReaders, reads, one, (*Server).getKey},
		{post, "/v1/keys/import", admins, onLeader, nil, withBody((*Server).importKeys)},
		{post, "/v1/keys/{pubkey}/confirm-stopped", changers, onLeader, nil, withBody((*Server).confirmStopped)},
		{post, "/v1/keys/{pubkey}/retire", changers, onLeader, nil, withBody((*Server).retireKey)},
		{get, "/v1/deposits", ownReaders, reads, page, (*Server).listDeposits},
		{get, "/v1/deposits/{pubkey}", ownReaders, reads, one, (*Server).getDeposit},
		{post, "/v1/deposits/resume", changers, onLeader, nil, withBody((*Server).resumeDeposits)},
	}, slices.Concat(operatingRoutes(), cloudRoutes())...)
}

// operatingRoutes are those for whoever runs the cluster.
func operatingRoutes() []route {
	const get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	one := []string{consistencyParam}
	return []route{
		{get, "/v1/audit", admins, reads, []string{"from", "limit", "action", "caller", "object", consistencyParam}, (*Server).listAudit},
		{get, "/v1/tokens", admins, reads, one, (*Server).listTokens},
		{post, "/v1/tokens", admins, onLeader, nil, withBody((*Server).createToken)},
		{del, "/v1/tokens/{id}", admins, onLeader, nil, (*Server).revokeToken},
		{post, "/v1/tokens/{id}/confirm", admins, onLeader, nil, (*Server).confirmToken},
		{get, "/v1/restore", readers, reads, one, (*Server).getRestore},
		{post, "/v1/restore/confirm", admins, onLeader, nil, withBody((*Server).confirmRestore)},
		{get, "/v1/seed", admins, onLeader, nil, (*Server).getSeed},
		{put, "/v1/seed", admins, onLeader, nil, withBody((*Server).putSeed)},
		{get, "/v1/seal", readers, here, nil, (*Server).getSeal},
		{post, "/v1/seal/verify", changers, here, nil, (*Server).verifySeal},
		{post, "/v1/seal/rotate", admins, onLeader, nil, (*Server).rotateSeal},
		{post, "/v1/seal/keys", admins, onLeader, nil, withBody((*Server).addSealKey)},
		{del, "/v1/seal/keys/{id}", admins, onLeader, []string{"force"}, (*Server).removeSealKey},
		{get, "/v1/snapshot", admins, reads, one, (*Server).getSnapshot},
		{put, "/v1/snapshot", admins, onLeader, []string{"replaceCluster", "forceOlder"}, (*Server).putSnapshot},
		{get, "/v1/backups", readers, onLeader, nil, (*Server).getBackups},
		{get, "/v1/cluster", allReaders, here, nil, (*Server).getCluster},
		{post, "/v1/cluster/members", admins, onLeader, nil, withBody((*Server).addMember)},
		{del, "/v1/cluster/members/{id}", admins, onLeader, []string{"force"}, (*Server).removeMember},
		{post, "/v1/cluster/members/{id}/promote", admins, onLeader, nil, (*Server).promoteMember},
		{post, "/v1/cluster/transfer", admins, onLeader, nil, withBody((*Server).transfer)},
		{get, "/livez", everybody, aside, nil, (*Server).livez},
		{get, "/readyz", everybody, aside, nil, (*Server).readyz},
		{get, "/metrics", metricsReaders, aside, nil, (*Server).showMetrics},
		{get, "/debug/pprof/", admins, aside, nil, (*Server).profiles},
		{get, "/debug/pprof/{profile}", admins, aside, nil, (*Server).profile},
		{get, "/openapi.yaml", everybody, aside, nil, (*Server).document},
		{get, "/", everybody, aside, nil, (*Server).home},
	}
}

// echoPath is the route's path the way echo writes it: /v1/keys/:pubkey.
func (r route) echoPath() string {
	return strings.NewReplacer("{", ":", "}", "").Replace(r.path)
}

func (s *Server) router() *echo.Echo {
	e := echo.New()
	e.HTTPErrorHandler = s.fail
	e.Use(s.identify, s.observe, s.recover)
	for _, r := range routes() {
		e.Add(r.method, r.echoPath(), s.serve(r))
		if r.method == http.MethodGet { // load balancers probe so (RFC 9110, section 9.3.2)
			r.method = http.MethodHead
			e.Add(r.method, r.echoPath(), s.serve(r))
		}
	}
	return e
}

const routeKey = "keysteward.route"

// routeOf is the route of the request, one named "none" if there is none.
func routeOf(e echo.Context) route {
	if r, ok := e.Get(routeKey).(route); ok {
		return r
	}
	return route{method: "none", path: "none"}
}

// serve is the one way through which every request goes.
func (s *Server) serve(r route) echo.HandlerFunc {
	kept := any(r) // made once, not for each request
	return func(e echo.Context) error {
		e.Set(routeKey, kept)
		caller, err := s.authorize(r, e.Request())
		if err != nil {
			return err
		}
		e.Set(callerKey, caller.Name)
		c := &call{echo: e, caller: caller}
		if r.runs != aside { // probes and scrapers bring what parameters they like
			if c.query, err = knownQuery(e.Request().URL, r.query); err != nil {
				return err
			}
		}
		if err := s.settle(c, r.runs); err != nil {
			return err
		}
		if err := s.permit(r.access, c); err != nil {
			return err
		}
		a, err := r.handle(s, c)
		if err != nil {
			return err
		}
		return a.send(e)
	}
}
