package main

import (
	"context"
	"errors"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/cluster/await"
)

// healthTime is how long a cluster may take to be whole after the last fault was healed.
const healthTime = 90 * time.Second

var errUnhealthy = errors.New("the cluster does not become healthy")

// ready tells whether a node says so of itself.
func (s *stage) ready(ctx context.Context, member int) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var r wire.Readiness
	return s.asker.Ask(ctx, s.Nodes.APIs()[member], "/readyz", nil, &r) == nil && r.Ready
}

// node is what a leader says of a member; nil if nobody leads, or it is none.
func (s *stage) node(ctx context.Context, member int) *wire.Node {
	for _, api := range s.Nodes.APIs() {
		if c, leads := s.court(ctx, api); leads {
			for i := range c.Nodes {
				if c.Nodes[i].Raft == s.Nodes.RaftAddress(member) {
					return &c.Nodes[i]
				}
			}
		}
	}
	return nil
}

// idOf is the ID of a member, empty if no node tells.
func (s *stage) idOf(ctx context.Context, member int) string {
	for _, api := range s.Nodes.APIs() {
		c, _ := s.court(ctx, api)
		for _, n := range c.Nodes {
			if n.Raft == s.Nodes.RaftAddress(member) {
				return n.ID
			}
		}
	}
	return ""
}

// court asks a node for the cluster; leads tells whether it is the leader's own word.
func (s *stage) court(ctx context.Context, api string) (c wire.Cluster, leads bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if s.asker.Ask(ctx, api, "/v1/cluster", nil, &c) != nil {
		return c, false
	}
	for _, n := range c.Nodes {
		if n.ID == c.Leader && n.API == api {
			return c, true
		}
	}
	return c, false
}

// awaitVoter returns when a node is ready and votes.
func (s *stage) awaitVoter(ctx context.Context, member int) error {
	return await.For(ctx, diskTime, errNotBack, func() bool {
		n := s.node(ctx, member)
		return n != nil && n.Voter && s.ready(ctx, member)
	})
}

// awaitHealth returns when all nodes are ready and vote, and nobody else does.
func (s *stage) awaitHealth(ctx context.Context) error {
	return await.For(ctx, healthTime, errUnhealthy, func() bool {
		for i := range s.count {
			if !s.ready(ctx, i) {
				return false
			}
		}
		for _, api := range s.Nodes.APIs() {
			c, leads := s.court(ctx, api)
			if !leads {
				continue
			}
			voters := 0
			for _, n := range c.Nodes {
				if n.Voter {
					voters++
				}
			}
			return voters == s.count && len(c.Nodes) == s.count
		}
		return false
	})
}
