package main

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"
)

const (
	millionPerPod  = 100
	millionClients = 64
	millionSeconds = 20 // of writes, with a snapshot in the middle
)

// measureMillion starts three nodes on a large state, and measures what it takes: memory,
// snapshots while clients write, and a restart.
func measureMillion(ctx context.Context, b *bench) error {
	c, err := startStrangers(ctx, filepath.Join(b.dir, "million"), b.heartbeat)
	if err != nil {
		return err
	}
	defer c.stop()
	empty, err := c.members[0].tell(order{Op: "memory"})
	if err != nil {
		return err
	}
	begin := time.Now()
	path := cmp.Or(b.state, filepath.Join(b.dir, "state.bin"))
	if err := keep(ctx, path, b.keys, millionPerPod); err != nil {
		return err
	}
	debug.FreeOSMemory() // this process needs it no more, and the nodes do
	size, err := c.placeLarge(path)
	if err != nil {
		return err
	}
	say(fmt.Sprintf("  made in %.0f s, a snapshot of %.0f MiB", time.Since(begin).Seconds(), float64(size)/(1<<20)))
	leader, err := c.leader(ctx)
	if err != nil {
		return err
	}
	if _, err := leader.tell(order{Op: "announce", Servers: c.servers}); err != nil {
		return err
	}
	if err := b.add(c.memories(b.keys, empty)); err != nil {
		return err
	}
	if err := b.add(c.snapshots(ctx)); err != nil {
		return err
	}
	return b.add(c.restart(ctx, b.keys))
}

// memories asks all nodes: the largest counts.
func (c *stewardCluster) memories(keys int, empty told) ([]figure, error) {
	var heap, rss []float64
	for _, m := range c.members {
		t, err := m.tell(order{Op: "memory"})
		if err != nil {
			return nil, err
		}
		heap, rss = append(heap, t.Heap), append(rss, t.RSS)
	}
	name := fmt.Sprintf("%d keys: ", keys)
	return []figure{
		{Name: name + "live heap of a node", Unit: "MiB", Value: slices.Max(heap)},
		{Name: name + "resident memory of a node", Unit: "MiB", Value: slices.Max(rss)},
		{Name: name + "live heap per key", Unit: "B", Value: (slices.Max(heap) - empty.Heap) * (1 << 20) / float64(keys)},
	}, nil
}

// snapshots has the leader, and then a follower, write one while clients write: none of
// them may be kept waiting.
func (c *stewardCluster) snapshots(ctx context.Context) ([]figure, error) {
	leader, err := c.leader(ctx)
	if err != nil {
		return nil, err
	}
	t, err := leader.tell(order{Op: "load", Kind: loadWrites, Clients: millionClients, Seconds: millionSeconds, Snapshot: true})
	if err != nil {
		return nil, err
	}
	t.Figure.Name = "allocate, release in process with so many keys, a snapshot meanwhile, " + plural(millionClients, "client")
	return []figure{
		t.Figure,
		{Name: "snapshot of the leader under this load", Unit: "s", Value: t.SnapshotMs / 1000},
		{Name: "longest time without an acknowledged write during the snapshot", Unit: "ms", Value: t.InItMs},
		{Name: "the same before the snapshot", Unit: "ms", Value: t.LongestMs},
	}, nil
}

// restart kills the node that wrote the snapshot and times until it is ready again.
func (c *stewardCluster) restart(ctx context.Context, keys int) ([]figure, error) {
	leader, err := c.leader(ctx)
	if err != nil {
		return nil, err
	}
	leader.end(true)
	begin := time.Now()
	if err := leader.start(); err != nil {
		return nil, err
	}
	var t told
	err = poll(ctx, startTimeout, func() bool {
		t, err = leader.tell(order{Op: "status"})
		return err == nil && t.Ready && t.Keys >= keys
	})
	if err != nil {
		return nil, fmt.Errorf("%w: not ready again, with %d keys, %s: %w", errSteward, t.Keys, t.Why, err)
	}
	took := time.Since(begin).Seconds()
	if t, err = leader.tell(order{Op: "memory"}); err != nil {
		return nil, err
	}
	return []figure{
		{Name: "kill -9 of this node to its being ready again", Unit: "s", Value: took, Runs: 1},
		{Name: "live heap of this node then", Unit: "MiB", Value: t.Heap},
	}, nil
}
