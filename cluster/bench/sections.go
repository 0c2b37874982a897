package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// bench is a run: its figures so far, and its cluster once one was needed.
type bench struct {
	options
	dir     string
	figures []figure
	cluster *localCluster
}

// section is something that can be measured without the others.
type section struct {
	name    string
	what    func(options) string
	measure func(context.Context, *bench) error
}

var errSection = errors.New("there is no such section")

// sections are in the order in which they are measured: the last one leaves the
// cluster with fewer nodes than it had.
var sections = []section{
	{"raft", says("raft with our log and nothing else, three processes"), func(ctx context.Context, b *bench) error {
		return b.add(measureCommits(ctx, filepath.Join(b.dir, "raft"), b.duration))
	}},
	{"etcd", says("etcd and a cluster in turns: writes, reads, kill -9 of the leader"), measureBeside},
	{"million", func(o options) string {
		return fmt.Sprintf("%d keys: memory, snapshot under load, restart", o.keys)
	}, measureMillion},
	{"deposits", func(o options) string { return fmt.Sprintf("depositing %d keys, with and without a cluster", o.stock) }, measureDeposits},
	{"allocations", says("allocations"), func(ctx context.Context, b *bench) error {
		return b.stocked(ctx, func(c *localCluster) ([]figure, error) { return c.measureAllocations(ctx, b.duration) })
	}},
	{"keystores", says("keysteward allocate of 64 keys"), func(ctx context.Context, b *bench) error {
		return b.stocked(ctx, func(c *localCluster) ([]figure, error) { return c.measureKeystores(ctx) })
	}},
	{"import", func(o options) string {
		return fmt.Sprintf("importing %d keystores (and making them first)", o.imported)
	}, func(ctx context.Context, b *bench) error {
		return b.with(ctx, func(c *localCluster) ([]figure, error) { return c.measureImport(ctx, b.imported) })
	}},
	{"clouds", func(o options) string { return fmt.Sprintf("certificates of a cloud, and of %d at once", o.clouds) }, func(ctx context.Context, b *bench) error {
		return b.with(ctx, func(c *localCluster) ([]figure, error) { return c.measureClouds(ctx, b.options) })
	}},
	{"pods", func(o options) string { return fmt.Sprintf("proofs of %d pods of %d", o.holders, o.pods) }, measurePods},
	{"rolling", says("a rolling restart under load"), func(ctx context.Context, b *bench) error {
		return b.stocked(ctx, func(c *localCluster) ([]figure, error) { return c.measureRolling(ctx) })
	}},
	{"failover", says("kill -9 of the leader"), func(ctx context.Context, b *bench) error {
		return b.stocked(ctx, func(c *localCluster) ([]figure, error) { return c.measureFailover(ctx, b.failovers) })
	}},
}

func say(text string) { fmt.Fprintln(os.Stderr, "bench:", text) }

func says(text string) func(options) string { return func(options) string { return text } }

// sectionNames are all that may be chosen from.
func sectionNames() string {
	names := make([]string, len(sections))
	for i, s := range sections {
		names[i] = s.name
	}
	return strings.Join(names, ", ")
}

// chosen are the sections that are to be measured.
func (o options) chosen() ([]section, error) {
	if o.only == "" {
		return sections, nil
	}
	names := strings.Split(o.only, ",")
	for _, name := range names {
		if !slices.ContainsFunc(sections, func(s section) bool { return s.name == name }) {
			return nil, fmt.Errorf("--only: %w: %q; there are %s", errSection, name, sectionNames())
		}
	}
	return slices.DeleteFunc(slices.Clone(sections), func(s section) bool { return !slices.Contains(names, s.name) }), nil
}

func (b *bench) add(figures []figure, err error) error {
	b.figures = append(b.figures, figures...)
	return err
}

// with measures something of the cluster, which is started if it was not.
func (b *bench) with(ctx context.Context, measure func(*localCluster) ([]figure, error)) error {
	if b.cluster == nil {
		say("starting a cluster")
		c, err := startCluster(ctx, b.bin, filepath.Join(b.dir, "cluster"))
		if err != nil {
			return err
		}
		b.cluster = c
	}
	return b.add(measure(b.cluster))
}

// stocked does so when the pool has keys.
func (b *bench) stocked(ctx context.Context, measure func(*localCluster) ([]figure, error)) error {
	return b.with(ctx, func(c *localCluster) ([]figure, error) {
		if !c.stocked {
			if _, err := c.stockPool(ctx, b.stock); err != nil {
				return nil, err
			}
		}
		return measure(c)
	})
}

func measureDeposits(ctx context.Context, b *bench) error {
	return b.with(ctx, func(c *localCluster) ([]figure, error) {
		ours, err := c.stockPool(ctx, b.stock)
		if err != nil {
			return nil, err
		}
		direct, err := c.measureDirect(ctx, b.stock)
		if err != nil {
			return nil, err
		}
		both := slices.Concat(ours, direct)
		return append(both, share(both)), nil
	})
}

func (b *bench) stop() {
	if b.cluster != nil {
		b.cluster.stop()
	}
}
