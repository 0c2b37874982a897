package client

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"sync"

	"github.com/keysteward/keysteward/api/wire"
)

// ClusterOfAll is ClusterOfLeader with what each member alone knows: how far it has
// read DepositEvents. It is left out for members that do not answer, and for all if
// the one that was asked first reads none.
func (c *Client) ClusterOfAll(ctx context.Context) (wire.Cluster, error) {
	cluster, err := c.ClusterOfLeader(ctx)
	if err != nil || !slices.ContainsFunc(cluster.Nodes, indexes) {
		return cluster, err
	}
	var wait sync.WaitGroup
	for i, node := range cluster.Nodes {
		if !indexes(node) {
			wait.Go(func() { cluster.Nodes[i].DepositEvents = c.eventsOf(ctx, cluster.ClusterID, node) })
		}
	}
	wait.Wait()
	return cluster, nil
}

func indexes(n wire.Node) bool { return n.DepositEvents != wire.DepositEvents{} }

// eventsOf asks one member about itself; the zero value if it does not answer.
func (c *Client) eventsOf(ctx context.Context, clusterID string, node wire.Node) (none wire.DepositEvents) {
	target, err := parseServer(node.API)
	if err != nil {
		return none
	}
	// Credentials go to members only, and never from https to http.
	target = c.member(origin(target))
	if target == nil || target.Scheme != schemeHTTPS && slices.ContainsFunc(c.servers, func(u *url.URL) bool { return u.Scheme == schemeHTTPS }) {
		return none
	}
	limited, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	q := call{method: http.MethodGet, path: pathCluster}
	r, err := c.send(limited, sentTo(target, q), q)
	if err != nil || r.status != http.StatusOK {
		return none
	}
	own, err := decode[wire.Cluster](r)
	if err != nil || own.ClusterID != clusterID {
		return none
	}
	for _, n := range own.Nodes {
		if n.ID == node.ID {
			return n.DepositEvents
		}
	}
	return none
}
