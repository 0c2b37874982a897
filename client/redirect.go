package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/keysteward/keysteward/api/wire"
)

// maxRedirects bounds how often one try is sent on. One is usual; while a leader is
// being elected nodes may be of different minds.
const maxRedirects = 5

// errLoop says that servers send a request around. It passes.
var errLoop = errors.New("servers redirect to each other")

// attempt asks one server and follows it to the leader.
func (c *Client) attempt(ctx context.Context, base *url.URL, q call) (reply, error) {
	target := sentTo(base, q)
	visited := map[string]bool{}
	for range maxRedirects + 1 {
		visited[target.String()] = true
		r, err := c.send(ctx, target, q)
		if err != nil {
			return r, err
		}
		if r.status != http.StatusTemporaryRedirect {
			r.from = base
			return c.judge(r, q)
		}
		if base, err = c.follow(ctx, target, r); err != nil {
			return r, err
		}
		target = sentTo(base, q)
		if visited[target.String()] {
			return r, fmt.Errorf("%s: %w", origin(base), errLoop)
		}
		c.config.Logger.DebugContext(ctx, "follow redirect", "to", origin(base))
	}
	return reply{}, fmt.Errorf("%s: %w", origin(base), errLoop)
}

func sentTo(base *url.URL, q call) *url.URL {
	target := base.JoinPath(q.path)
	target.RawQuery = q.query.Encode()
	return target
}

// judge turns an answer into a Problem unless it is what was hoped for.
func (c *Client) judge(r reply, q call) (reply, error) {
	if r.status >= 200 && r.status < 300 || q.accepts != nil && q.accepts(r.status) {
		return r, nil
	}
	return r, decodeProblem(r)
}

// follow returns the base URL of the member that a redirect names. Of the Location
// only the origin counts: the member is taken as the cluster wrote it down, and
// asked for what was asked before.
func (c *Client) follow(ctx context.Context, from *url.URL, r reply) (*url.URL, error) {
	location, err := url.Parse(r.header.Get("Location"))
	if err != nil || r.header.Get("Location") == "" {
		return nil, fmt.Errorf("%w: %s sent no usable Location", ErrRedirect, origin(from))
	}
	to := from.ResolveReference(location)
	if err := checkTarget(to); err != nil {
		return nil, fmt.Errorf("%w: from %s: %w", ErrRedirect, origin(from), err)
	}
	if from.Scheme == schemeHTTPS && to.Scheme != schemeHTTPS {
		return nil, fmt.Errorf("%w: %s sends on to %s, from https to http", ErrRedirect, origin(from), origin(to))
	}
	if member := c.member(origin(to)); member != nil {
		return member, nil
	}
	if err := c.learn(ctx); err != nil {
		return nil, fmt.Errorf("%s sends on to %s, and whether that is a member cannot be found out: %w", origin(from), origin(to), err)
	}
	if member := c.member(origin(to)); member != nil {
		return member, nil
	}
	return nil, fmt.Errorf("%w: %s sends on to %s, which is no member of the cluster", ErrRedirect, origin(from), origin(to))
}

// member returns the base URL of the server or member of this origin, nil if there is none.
func (c *Client) member(wanted string) *url.URL {
	for _, candidate := range c.candidates() {
		if origin(candidate) == wanted {
			return candidate
		}
	}
	return nil
}

// learn asks the configured servers, and nobody else, who the members are.
func (c *Client) learn(ctx context.Context) error {
	var failures []error
	for _, server := range c.servers {
		q := call{method: http.MethodGet, path: pathCluster}
		r, err := c.send(ctx, sentTo(server, q), q)
		if err == nil && r.status != http.StatusOK {
			err = fmt.Errorf("%s: %w", origin(server), decodeProblem(r))
		}
		if err != nil {
			failures = append(failures, err)
			continue
		}
		cluster, err := decode[wire.Cluster](r)
		if err != nil {
			return err
		}
		c.remember(cluster)
		return nil
	}
	return fmt.Errorf("ask for the members: %w", errors.Join(failures...))
}

// remember keeps the members that a configured server named. One whose URL
// credentials must not be sent to is left out.
func (c *Client) remember(cluster wire.Cluster) {
	var members []*url.URL
	for _, node := range cluster.Nodes {
		if node.API == "" {
			continue
		}
		if member, err := parseServer(node.API); err == nil {
			members = append(members, member)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members = members
}

// candidates lists whom to ask: the leader of last time, the servers as
// configured, the other members.
func (c *Client) candidates() []*url.URL {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*url.URL
	known := map[string]bool{}
	add := func(u *url.URL) {
		if !known[origin(u)] {
			known[origin(u)] = true
			list = append(list, u)
		}
	}
	if c.leader != nil {
		add(c.leader)
	}
	for _, u := range c.servers {
		add(u)
	}
	for _, u := range c.members {
		add(u)
	}
	return list
}

// led notes who answered, nil if that server failed.
func (c *Client) led(by *url.URL) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader = by
}
