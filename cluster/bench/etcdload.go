package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// etcdConns bounds the connections of etcd's load generator: with one for each of 256
// clients etcd does a third less.
const etcdConns = 16

// etcdReport is what is read from the generator's report.
var etcdReport = map[string]*regexp.Regexp{
	"rate": regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`),
	"p50":  regexp.MustCompile(`50% in ([0-9.]+) secs`),
	"p99":  regexp.MustCompile(`99% in ([0-9.]+) secs`),
}

// run has etcd's own load generator do so many requests by so many clients.
func (c *etcdCluster) run(ctx context.Context, name string, clients, total int, args ...string) (figure, error) {
	var endpoints []string
	for _, m := range c.members {
		endpoints = append(endpoints, strings.TrimPrefix(m.client, "http://"))
	}
	conns := min(clients, etcdConns)
	all := append([]string{
		"--endpoints", strings.Join(endpoints, ","), "--precise",
		"--clients", strconv.Itoa(clients), "--conns", strconv.Itoa(conns),
	}, args...)
	out, err := exec.CommandContext(ctx, c.load, append(all, "--total", strconv.Itoa(total))...).CombinedOutput() //nolint:gosec // a pinned tool
	if err != nil {
		return figure{}, fmt.Errorf("%w: load of %s: %w: %s", errEtcd, name, err, out)
	}
	numbers := make(map[string]float64)
	for what, pattern := range etcdReport {
		m := pattern.FindSubmatch(out)
		if m == nil {
			return figure{}, fmt.Errorf("%w: load of %s: no %s in its report: %s", errEtcd, name, what, out)
		}
		if numbers[what], err = strconv.ParseFloat(string(m[1]), 64); err != nil {
			return figure{}, fmt.Errorf("%w: load of %s: %w", errEtcd, name, err)
		}
	}
	return figure{
		Name: name + ", " + plural(clients, "client"), Unit: "ops/s", Value: numbers["rate"],
		P50ms: 1000 * numbers["p50"], P99ms: 1000 * numbers["p99"], Runs: total,
	}, nil
}

// lasting runs a load for about so long: it is told a number of requests, so a few are
// made first to see how many that is.
func (c *etcdCluster) lasting(ctx context.Context, name string, clients int, duration time.Duration, args ...string) (figure, error) {
	try, err := c.run(ctx, name, clients, 100+20*clients, args...)
	if err != nil {
		return figure{}, err
	}
	return c.run(ctx, name, clients, max(100, int(try.Value*duration.Seconds())), args...)
}

// puts writes to the leader, each time another key.
func (c *etcdCluster) puts(ctx context.Context, clients int, duration time.Duration) (figure, error) {
	return c.lasting(ctx, "etcd put of 256 B", clients, duration, "--target-leader",
		"put", "--val-size", strconv.Itoa(commitBytes), "--key-size", "16", "--sequential-keys", "--key-space-size", "100000")
}

func (c *etcdCluster) reads(ctx context.Context, clients int, duration time.Duration, linearizable bool) (figure, error) {
	name, level := "etcd serializable range", "s"
	if linearizable {
		name, level = "etcd linearizable range", "l"
	}
	return c.lasting(ctx, name, clients, duration, "--target-leader", "range", "put", "--consistency", level)
}
