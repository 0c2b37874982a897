package main

import (
	"context"
	"fmt"
	"net/http"
	"syscall"
	"time"

	"github.com/keysteward/keysteward/api/wire"
)

const (
	failoverLimit = 30 * time.Second
	rejoinLimit   = 60 * time.Second
	tryEvery      = 10 * time.Millisecond
)

// measureFailover kills the leader, times until another node acknowledges an
// allocation, and lets the killed one come back and catch up before the next.
func (c *localCluster) measureFailover(ctx context.Context, runs int) ([]figure, error) {
	took, err := c.failovers(ctx, runs)
	if err != nil {
		return nil, err
	}
	return []figure{
		median("kill -9 of the leader to the next allocation, median", took),
		extreme("kill -9 of the leader to the next allocation, fastest", took, 0),
		extreme("kill -9 of the leader to the next allocation, slowest", took, 1),
	}, nil
}

func (c *localCluster) failovers(ctx context.Context, runs int) ([]time.Duration, error) {
	var took []time.Duration
	for range runs {
		if err := poll(ctx, rejoinLimit, func() bool { return c.whole(ctx) }); err != nil {
			return nil, fmt.Errorf("the cluster is not whole: %w", err)
		}
		d, err := c.failover(ctx)
		if err != nil {
			return nil, err
		}
		took = append(took, d)
		if err := c.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			return nil, fmt.Errorf("start the node again: %w", err)
		}
	}
	return took, nil
}

func (c *localCluster) failover(ctx context.Context) (time.Duration, error) {
	f, err := c.file()
	if err != nil {
		return 0, err
	}
	leader, err := c.leader(ctx)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := syscall.Kill(leader.PID, syscall.SIGKILL); err != nil {
		return 0, fmt.Errorf("kill the leader: %w", err)
	}
	for time.Since(start) < failoverLimit {
		for _, n := range f.Nodes {
			if n.PID == leader.PID {
				continue
			}
			code, _ := c.call(ctx, http.MethodPost, n.API+"/v1/allocations", requestFor("failover", 1), nil)
			if code == http.StatusOK {
				return time.Since(start), nil
			}
		}
		time.Sleep(tryEvery)
	}
	return 0, errTimeout
}

// whole reports whether all nodes answer and none lacks log entries.
func (c *localCluster) whole(ctx context.Context) bool {
	leader, err := c.leader(ctx)
	if err != nil {
		return false
	}
	var status wire.Cluster
	if _, err := c.call(ctx, http.MethodGet, leader.API+"/v1/cluster", nil, &status); err != nil {
		return false
	}
	for _, n := range status.Nodes {
		if n.Lag < 0 || n.Lag > 100 {
			return false
		}
	}
	return len(status.Nodes) > 0
}
