package api

import (
	"net/http"
	"net/http/pprof"
	"slices"
	"strconv"
	"time"
)

// snapshotProfiles are taken at once. Those of contention, block and mutex, are empty unless the
// process was started with --profile-contention. There is no command line: that is for the machine's
// owner.
var snapshotProfiles = []string{"allocs", "block", "goroutine", "heap", "mutex", "threadcreate"}

// mostProfiled bounds the profiles that take their time; it is less than an answer may take.
const mostProfiled = time.Minute

// profiles lists the profiles, as an HTML page.
func (s *Server) profiles(*call) (answer, error) {
	return answer{handler: http.HandlerFunc(pprof.Index)}, nil
}

// profile takes a profile: of memory and goroutines at once, of the processor and a trace of
// execution for as long as the query's seconds say. Profiles hold stacks and numbers, and
// nothing of what memory holds.
func (s *Server) profile(c *call) (answer, error) {
	name, seconds := c.echo.Param("profile"), c.echo.QueryParam("seconds")
	takers := map[string]http.HandlerFunc{"profile": pprof.Profile, "trace": pprof.Trace}
	take := takers[name]
	switch n, err := strconv.Atoi(seconds); {
	case take == nil && !slices.Contains(snapshotProfiles, name):
		return answer{}, newProblem(notFound, "there is no such profile; /debug/pprof/ lists them")
	case take == nil && seconds != "":
		return answer{}, badField("seconds", "this profile is taken at once")
	case take == nil:
		return answer{handler: pprof.Handler(name)}, nil
	case seconds != "" && (err != nil || n < 1 || n > int(mostProfiled/time.Second)):
		return answer{}, badField("seconds", "want 1 to %d", mostProfiled/time.Second)
	}
	return answer{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { <-s.profiling }()
		take(w, r)
	})}, s.beginProfile()
}

// beginProfile sees that there is one at a time: the runtime can not make more.
func (s *Server) beginProfile() error {
	select {
	case s.profiling <- struct{}{}:
		return nil
	default:
		return newProblem(overloaded, "another profile of the processor, or trace, is being taken")
	}
}
