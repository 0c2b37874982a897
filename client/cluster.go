package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/keysteward/keysteward/api/wire"
)

const (
	pathCluster = "/v1/cluster"
	pathSeed    = "/v1/seed"
	pathReady   = "/readyz"
)

// leaderPatience is how long the leader may take to say more than a follower did.
const leaderPatience = 2 * time.Second

// Cluster returns members and leader as some node knows them. The members that a
// configured server names are trusted from then on.
func (c *Client) Cluster(ctx context.Context) (wire.Cluster, error) {
	cluster, _, err := c.clusterBy(ctx, call{})
	return cluster, err
}

// ClusterOfLeader is Cluster as the leader knows it, who alone knows how far the
// others lag behind. Where no leader answers it is what another node says, one without
// a cluster (its disk may be lost) only if no server knows better.
func (c *Client) ClusterOfLeader(ctx context.Context) (wire.Cluster, error) {
	cluster, from, err := c.clusterBy(ctx, call{})
	if err == nil && cluster.ClusterID == "" {
		cluster, from = c.clusterOfOthers(ctx, cluster, from)
	}
	if err != nil || !slices.ContainsFunc(cluster.Nodes, func(n wire.Node) bool { return n.Lag < 0 }) {
		return cluster, err
	}
	leader := c.leaderIn(cluster)
	if leader == nil || origin(leader) == origin(from) || from.Scheme == schemeHTTPS && leader.Scheme != schemeHTTPS {
		return cluster, nil
	}
	limited, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	q := call{method: http.MethodGet, path: pathCluster}
	r, err := c.send(limited, sentTo(leader, q), q)
	if err != nil || r.status != http.StatusOK { // the follower's word will do
		return cluster, nil
	}
	better, err := decode[wire.Cluster](r)
	if err != nil || better.ClusterID != cluster.ClusterID {
		return cluster, nil
	}
	return better, nil
}

// clusterOfOthers asks the other servers, after one that is part of no cluster, and
// returns the word of the first that is part of one.
func (c *Client) clusterOfOthers(ctx context.Context, empty wire.Cluster, asked *url.URL) (wire.Cluster, *url.URL) {
	for _, server := range c.servers {
		if origin(server) == origin(asked) {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, leaderPatience)
		q := call{method: http.MethodGet, path: pathCluster}
		r, err := c.send(limited, sentTo(server, q), q)
		cancel()
		if err != nil || r.status != http.StatusOK {
			continue
		}
		if cluster, err := decode[wire.Cluster](r); err == nil && cluster.ClusterID != "" {
			c.remember(cluster)
			return cluster, server
		}
	}
	return empty, asked
}

// leaderIn returns the base URL of the leader, nil if it is none of those who may be asked.
func (c *Client) leaderIn(cluster wire.Cluster) *url.URL {
	for _, node := range cluster.Nodes {
		if node.ID == cluster.Leader {
			return c.urlOf(node)
		}
	}
	return nil
}

// clusterBy also returns the base URL of who answered.
func (c *Client) clusterBy(ctx context.Context, q call) (wire.Cluster, *url.URL, error) {
	q.method, q.path = http.MethodGet, pathCluster
	r, err := c.do(ctx, q)
	if err != nil {
		return wire.Cluster{}, nil, fmt.Errorf("cluster: %w", err)
	}
	cluster, err := decode[wire.Cluster](r)
	if err != nil {
		return cluster, nil, fmt.Errorf("cluster: %w", err)
	}
	if slices.ContainsFunc(c.servers, func(u *url.URL) bool { return origin(u) == origin(r.from) }) {
		c.remember(cluster)
	}
	return cluster, r.from, nil
}

// Ready returns the readiness of the first server that is ready, else of the last
// that answered. A node that is not ready is no error.
func (c *Client) Ready(ctx context.Context) (wire.Readiness, error) {
	q := call{method: http.MethodGet, path: pathReady}
	var answer wire.Readiness
	var answered bool
	var failure error
	for _, server := range c.candidates() {
		r, err := c.send(ctx, sentTo(server, q), q)
		if err == nil && r.status != http.StatusOK && r.status != http.StatusServiceUnavailable {
			err = decodeProblem(r)
		}
		var one wire.Readiness
		if err == nil {
			one, err = decode[wire.Readiness](r)
		}
		if err != nil {
			failure = err
			continue
		}
		if answer, answered = one, true; one.Ready {
			return one, nil
		}
	}
	if answered {
		return answer, nil
	}
	return answer, fmt.Errorf("readiness: %w: %w", ErrUnavailable, failure)
}

// Seed tells whether the cluster has a seed, and to whom a new one is sealed.
func (c *Client) Seed(ctx context.Context) (wire.SeedStatus, error) {
	status, err := get[wire.SeedStatus](ctx, c, call{method: http.MethodGet, path: pathSeed})
	if err != nil {
		return status, fmt.Errorf("seed of the cluster: %w", err)
	}
	return status, nil
}

// PutSeed gives the cluster its seed, sealed to the recipient of an earlier Seed.
// A Problem of type seed-exists says that it has another one, stale-recipient that
// the leader has changed since.
func (c *Client) PutSeed(ctx context.Context, seed wire.SealedSeed) error {
	body, err := encode(seed)
	if err != nil {
		return err
	}
	if _, err := c.do(ctx, call{method: http.MethodPut, path: pathSeed, body: body}); err != nil {
		return fmt.Errorf("give the cluster its seed: %w", err)
	}
	return nil
}
