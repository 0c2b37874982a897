package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client"
)

const (
	rollingClients = 8
	rollingRounds  = 3
	unitSeconds    = "s"
)

// rollingLoad allocates and releases without a pause, through the client that pods
// use, and remembers when it was told so.
type rollingLoad struct {
	mu     sync.Mutex
	acked  []time.Time
	failed error
}

// measureRolling asks each node in turn to stop, followers and leader, and starts it
// again as a StatefulSet would: the next one when this one is ready.
func (c *localCluster) measureRolling(ctx context.Context) ([]figure, error) {
	f, err := c.file()
	if err != nil {
		return nil, err
	}
	servers := make([]string, len(f.Nodes))
	for i, n := range f.Nodes {
		servers[i] = n.API
	}
	load, stop, err := c.startRolling(ctx, servers)
	if err != nil {
		return nil, err
	}
	took, err := c.rollAll(ctx)
	stop()
	if err = errors.Join(err, load.failed); err != nil {
		return nil, err
	}
	gaps := load.gaps()
	return []figure{
		{Name: fmt.Sprintf("rolling restart of 3 nodes under load of %d clients: requests that failed after retries", rollingClients), Unit: "requests", Runs: rollingRounds},
		{Name: "rolling restart: allocations that were acknowledged meanwhile", Value: float64(len(gaps) + 1), Unit: "allocations", Runs: rollingRounds},
		{Name: "rolling restart: longest time between two acknowledged allocations", Value: slices.Max(gaps).Seconds(), Unit: unitSeconds, Runs: rollingRounds},
		median("rolling restart of all three nodes, until ready", took),
	}, nil
}

func (c *localCluster) startRolling(ctx context.Context, servers []string) (*rollingLoad, func(), error) {
	ctx, cancel := context.WithCancel(ctx)
	load := &rollingLoad{}
	var workers sync.WaitGroup
	for i := range rollingClients {
		own, err := client.New(client.Config{Servers: servers, Token: client.Token(c.token), RetryFor: time.Minute})
		if err != nil {
			cancel()
			return nil, nil, fmt.Errorf("client: %w", err)
		}
		workers.Go(func() {
			defer own.Close()
			load.run(ctx, own, fmt.Sprintf("rolling-%d", i))
		})
	}
	return load, func() { cancel(); workers.Wait() }, nil
}

func (l *rollingLoad) run(ctx context.Context, c *client.Client, pod string) {
	for ctx.Err() == nil {
		a, pending, err := c.Allocate(ctx, requestFor(pod, 1), 0)
		if err == nil && pending != nil {
			continue
		}
		if err == nil {
			l.acknowledge()
			err = c.Release(ctx, client.ReleaseOptions{Namespace: a.Namespace, Pod: pod, PodUID: a.PodUID, Fence: a.Fence})
		}
		if err != nil && ctx.Err() == nil {
			l.mu.Lock()
			l.failed = errors.Join(l.failed, err)
			l.mu.Unlock()
		}
	}
}

func (l *rollingLoad) acknowledge() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked = append(l.acked, time.Now())
}

func (l *rollingLoad) gaps() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	gaps := []time.Duration{0}
	for i := 1; i < len(l.acked); i++ {
		gaps = append(gaps, l.acked[i].Sub(l.acked[i-1]))
	}
	return gaps
}

// rollAll restarts all nodes, the last one first, a few times.
func (c *localCluster) rollAll(ctx context.Context) (took []time.Duration, err error) {
	for range rollingRounds {
		begin := time.Now()
		for i := 2; i >= 0; i-- {
			if err := c.restart(ctx, i); err != nil {
				return nil, err
			}
		}
		took = append(took, time.Since(begin))
	}
	return took, nil
}

// restart stops a node as Kubernetes does and returns when it is ready again.
func (c *localCluster) restart(ctx context.Context, i int) error {
	f, err := c.file()
	if err != nil {
		return err
	}
	pid := f.Nodes[i].PID
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop a node: %w", err)
	}
	if err := poll(ctx, rejoinLimit, func() bool { return syscall.Kill(pid, 0) != nil }); err != nil {
		return fmt.Errorf("a node that was asked to stop: %w", err)
	}
	if err := c.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		return fmt.Errorf("start the node again: %w", err)
	}
	return poll(ctx, rejoinLimit, func() bool {
		var ready wire.Readiness
		now, err := c.file()
		if err != nil || now.Nodes[i].PID == pid {
			return false
		}
		code, err := c.call(ctx, http.MethodGet, now.Nodes[i].API+"/readyz", nil, &ready)
		return err == nil && code == http.StatusOK && ready.Ready
	})
}
