package local

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
	"github.com/keysteward/keysteward/cluster/await"
)

const (
	// startTime is how long a cluster may take to come up.
	startTime = 60 * time.Second
	pollTime  = 50 * time.Millisecond
)

// ErrNode says that a node did not come up; the message has the end of its log.
var ErrNode = errors.New("node did not come up")

// newClient returns a client of these servers that does not insist.
func (s *site) newClient(token string, servers ...string) (*client.Client, error) {
	c, err := client.New(client.Config{
		Servers: servers, TokenFile: token, CAFile: s.tls.ca(), UserAgent: "keysteward-local",
		RequestTimeout: 5 * time.Second, RetryFor: time.Second, BackoffMax: pollTime, BackoffMin: pollTime,
	})
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return c, nil
}

// awaitReady returns when every node says that it is ready. A node that ends, or is
// not ready in time, is ErrNode.
func awaitReady(ctx context.Context, v *supervisor) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTime, ErrNode)
	defer cancel()
	for i := range v.site.ports.API {
		if err := awaitNode(ctx, v, i); err != nil {
			return err
		}
	}
	return nil
}

func awaitNode(ctx context.Context, v *supervisor, i int) error {
	c, err := v.site.newClient("", v.site.apiURL(i))
	if err != nil {
		return err
	}
	defer c.Close()
	reason := "it does not answer"
	err = await.Poll(ctx, func() (bool, error) {
		if dead := v.dead(); dead >= 0 { // one is enough
			i, reason = dead, v.process(dead).outcome()
			return false, ErrNode
		}
		readiness, err := c.Ready(ctx)
		if err != nil {
			return false, nil //nolint:nilerr // not yet
		}
		reason = whyNotReady(readiness)
		return readiness.Ready, nil
	})
	if errors.Is(err, ErrNode) {
		return fmt.Errorf("%w: %s: %s; the end of %s:\n%s", ErrNode, nodeName(i), reason, v.site.log(i), logTail(v.site.log(i)))
	}
	return err
}

func whyNotReady(r wire.Readiness) string {
	var reasons []string
	for _, c := range r.Checks {
		if !c.Ok {
			reasons = append(reasons, c.Name+": "+c.Detail)
		}
	}
	return strings.Join(reasons, "; ")
}

// awaitMembers returns the cluster when it has a leader and knows every node's API.
func awaitMembers(ctx context.Context, s *site) (wire.Cluster, error) {
	var cluster wire.Cluster
	c, err := s.newClient(s.tokens.Viewer, s.apiURLs()...)
	if err != nil {
		return cluster, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	var last error
	err = await.Poll(ctx, func() (bool, error) {
		cluster, last = c.Cluster(ctx)
		return last == nil && complete(cluster, s), nil
	})
	if err != nil {
		return cluster, fmt.Errorf("the cluster is not complete: %w", errors.Join(err, last))
	}
	return cluster, nil
}

func complete(c wire.Cluster, s *site) bool {
	for i := range s.ports.Raft {
		if n := member(c, s, i); n == nil || n.API != s.apiURL(i) {
			return false
		}
	}
	return c.Leader != ""
}

// member finds a node by its Raft address, which is its own for good.
func member(c wire.Cluster, s *site, i int) *wire.Node {
	for j := range c.Nodes {
		if c.Nodes[j].Raft == s.address(i, s.ports.Raft[i]) {
			return &c.Nodes[j]
		}
	}
	return nil
}
