package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/keysteward/keysteward/cluster/chaos/command"
	"github.com/keysteward/keysteward/cluster/chaos/netns"
)

func main() {
	command.Main("chaos", func(ctx context.Context, args []string) error {
		p, err := parse(args)
		switch {
		case err != nil:
			return err
		case p.network == networkNamespaces && !netns.Inside():
			return netns.Enter(ctx, args...) //nolint:wrapcheck // says what it is
		}
		return p.run(ctx, os.Stdout)
	})
}

// program is what the command line asks for.
type program struct {
	keysteward, geth string
	failpoints       bool
	nodes            int
	duration         time.Duration
	seed             uint64
	only             string
	gap              time.Duration
	think            time.Duration
	keep             string
	kubernetes       string
	network          string
	disks            bool
}

// parse reads the command line.
func parse(args []string) (program, error) {
	var p program
	f := flag.NewFlagSet("chaos", flag.ExitOnError)
	f.StringVar(&p.keysteward, "keysteward", "", "the keysteward binary")
	f.BoolVar(&p.failpoints, "failpoints", true, "the binary was built with the tag failpoints: logs may fail and clocks go wrong")
	f.StringVar(&p.geth, "geth", "", "the geth binary")
	f.IntVar(&p.nodes, "nodes", 3, "how many nodes")
	f.DurationVar(&p.duration, "duration", 2*time.Minute, "how long there are faults")
	f.Uint64Var(&p.seed, "seed", uint64(time.Now().UnixNano()), "what decides about everything that is drawn")
	f.StringVar(&p.only, "only", "", "only these kinds of faults, separated by commas: "+kindNames())
	f.DurationVar(&p.gap, "gap", 2*time.Second, "mean time between two faults")
	f.DurationVar(&p.think, "think", 20*time.Millisecond, "mean time between two operations of a client")
	f.StringVar(&p.kubernetes, "kubernetes", "", "scripts/kubernetes, to start a control plane for logical clouds; none are made without")
	f.StringVar(&p.network, "network", networkWires, "what is between the nodes: wires of TCP, or namespaces (root, Linux; without logical clouds)")
	f.BoolVar(&p.disks, "disks", mayMount(), "give each node a disk in memory, which can be full (root, Linux)")
	f.StringVar(&p.keep, "dir", "", "folder for data, logs and what was found, which must not exist (default: a temporary one, removed if nothing is wrong)")
	if err := f.Parse(args); err != nil {
		return p, fmt.Errorf("%w: %w", command.ErrUsage, err)
	}
	if p.nodes != 3 && p.nodes != 5 {
		return p, fmt.Errorf("%w: %d nodes, there can be 3 or 5", command.ErrUsage, p.nodes)
	}
	switch p.network {
	case networkWires:
	case networkNamespaces:
		p.kubernetes = "" // its API server listens on loopback
	default:
		return p, fmt.Errorf("%w: --network %s, there are %s and %s", command.ErrUsage, p.network, networkWires, networkNamespaces)
	}
	if p.duration <= 0 || p.gap <= 0 || p.think <= 0 {
		return p, fmt.Errorf("%w: times must be positive", command.ErrUsage)
	}
	_, err := kindsNamed(p.only)
	return p, err
}
