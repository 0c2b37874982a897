package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/keysteward/keysteward/api/wire"
)

const (
	depositTimeout = 5 * time.Minute
	keystoreRuns   = 3
	keystoreKeys   = 64
)

func requestFor(pod string, keys int) wire.AllocationRequest {
	return wire.AllocationRequest{Namespace: "bench", Pod: pod, PodUID: pod + "-uid", Keys: int64(keys)}
}

// stockPool has keys deposited and releases them all.
func (c *localCluster) stockPool(ctx context.Context, keys int) ([]figure, error) {
	leader, err := c.leader(ctx)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	var a wire.Allocation
	err = poll(ctx, depositTimeout, func() bool {
		code, err := c.call(ctx, http.MethodPost, leader.API+"/v1/allocations", requestFor("stock", keys), &a)
		return err == nil && code == http.StatusOK
	})
	if err != nil {
		return nil, fmt.Errorf("deposit: %w", err)
	}
	elapsed := time.Since(begin)
	c.stocked = true
	return []figure{{
		Name: fmt.Sprintf("deposits of %d keys, 16 in flight, a block each 0.5 s", keys), Unit: unitDeposits,
		Value: float64(keys) / elapsed.Seconds(), Runs: 1,
	}}, c.release(ctx, leader, "stock", a.Fence)
}

func (c *localCluster) release(ctx context.Context, leader target, pod string, fence int64) error {
	code, err := c.call(ctx, http.MethodDelete, fmt.Sprintf("%s/v1/allocations/bench/%s?fence=%d", leader.API, pod, fence), nil, nil)
	if err == nil && code != http.StatusNoContent {
		err = fmt.Errorf("release of %s: status %d", pod, code)
	}
	return err
}

// measureAllocations lets clients allocate one key each, release it, and begin
// again; a figure counts allocations and times them without the release.
func (c *localCluster) measureAllocations(ctx context.Context, duration time.Duration) ([]figure, error) {
	leader, err := c.leader(ctx)
	if err != nil {
		return nil, err
	}
	var figures []figure
	for _, clients := range []int{1, 64, 256} {
		f, err := c.allocationLoad(ctx, leader, clients, duration)
		if err != nil {
			return nil, err
		}
		figures = append(figures, f)
	}
	return figures, nil
}

func (c *localCluster) allocationLoad(ctx context.Context, leader target, clients int, duration time.Duration) (figure, error) {
	var (
		mu        sync.Mutex
		latencies []time.Duration
		failure   error
		workers   sync.WaitGroup
	)
	begin := time.Now()
	for i := range clients {
		workers.Go(func() {
			mine, err := c.allocateAndRelease(ctx, leader, fmt.Sprintf("load-%d", i), begin.Add(duration))
			mu.Lock()
			defer mu.Unlock()
			latencies = append(latencies, mine...)
			failure = errors.Join(failure, err)
		})
	}
	workers.Wait()
	name := "allocate (and release) over HTTP, " + plural(clients, "client")
	return rate(name, "allocations/s", latencies, time.Since(begin)), failure
}

func (c *localCluster) allocateAndRelease(ctx context.Context, leader target, pod string, until time.Time) ([]time.Duration, error) {
	var latencies []time.Duration
	for time.Now().Before(until) {
		var a wire.Allocation
		start := time.Now()
		code, err := c.call(ctx, http.MethodPost, leader.API+"/v1/allocations", requestFor(pod, 1), &a)
		if err != nil || code != http.StatusOK {
			return latencies, errors.Join(err, fmt.Errorf("allocation for %s: status %d", pod, code))
		}
		latencies = append(latencies, time.Since(start))
		if err := c.release(ctx, leader, pod, a.Fence); err != nil {
			return latencies, err
		}
	}
	return latencies, nil
}

// measureKeystores times the command as an init container runs it.
func (c *localCluster) measureKeystores(ctx context.Context) ([]figure, error) {
	f, err := c.file()
	if err != nil {
		return nil, err
	}
	servers := make([]string, len(f.Nodes))
	for i, n := range f.Nodes {
		servers[i] = n.API
	}
	var runs []time.Duration
	for i := range keystoreRuns {
		pod := fmt.Sprintf("keystores-%d", i)
		cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "keysteward"), "allocate", //nolint:gosec // our own binary
			"--server", strings.Join(servers, ","), "--token-file", f.AdminTokenFile, "--namespace", "bench",
			"--pod", pod, "--pod-uid", pod+"-uid", "--keys", strconv.Itoa(keystoreKeys), "--layout", "lighthouse", "--out", filepath.Join(c.dir, pod))
		cmd.Stderr = os.Stderr
		start := time.Now()
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("keysteward allocate: %w", err)
		}
		runs = append(runs, time.Since(start))
		if err := c.releaseAll(ctx, pod); err != nil {
			return nil, err
		}
	}
	return []figure{median(fmt.Sprintf("keysteward allocate, %d PBKDF2 keystores", keystoreKeys), runs)}, nil
}

func (c *localCluster) releaseAll(ctx context.Context, pod string) error {
	leader, err := c.leader(ctx)
	if err != nil {
		return err
	}
	var p wire.PodStatus
	if _, err := c.call(ctx, http.MethodGet, leader.API+"/v1/allocations/bench/"+pod, nil, &p); err != nil {
		return err
	}
	return c.release(ctx, leader, pod, p.Allocation.Fence)
}
