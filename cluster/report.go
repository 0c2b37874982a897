package cluster

import (
	"sync"

	"github.com/keysteward/keysteward/node"
)

// Report is a line of readiness: what this node waits for before it is part of its
// cluster, or why it can not be. The zero Report is of a node that has not looked yet.
// It is safe for concurrent use.
type Report struct {
	mu     sync.Mutex
	looked bool
	reason string
	// differs is how members differ while nobody can tell which of them is right.
	differs string
}

// Check is the line, well while nothing is waited for.
func (r *Report) Check() node.Check {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := node.Check{Name: "cluster", Detail: r.reason, OK: r.looked && r.reason == "" && r.differs == ""}
	switch {
	case r.reason == "" && r.differs != "":
		c.Detail = r.differs
	case !r.looked:
		c.Detail = "has not looked for the other members yet"
	case c.OK:
		c.Detail = "waits for nobody"
	}
	return c
}

// set says whether that is news.
func (r *Report) set(reason string) (news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	news = reason != r.reason
	r.looked, r.reason = true, reason
	return news
}

// differ tells how members differ, empty if they do not as far as can be told.
func (r *Report) differ(how string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.differs = how
}

func (r *Report) get() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reason
}
