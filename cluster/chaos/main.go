package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/keysteward/keysteward/cluster/chaos/netns"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	p, err := parse(os.Args[1:])
	switch {
	case err != nil:
	case p.network == networkNamespaces && !netns.Inside():
		err = netns.Enter(ctx, os.Args[1:]...)
	default:
		err = p.run(ctx, os.Stdout)
	}
	stop()
	switch {
	case err == nil:
		return
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "chaos: interrupted")
	case !errors.Is(err, errViolations): // those were told
		fmt.Fprintln(os.Stderr, "chaos:", err)
	}
	os.Exit(1)
}

var errUsage = errors.New("wrong usage")

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
		return p, fmt.Errorf("%w: %w", errUsage, err)
	}
	if p.nodes != 3 && p.nodes != 5 {
		return p, fmt.Errorf("%w: %d nodes, there can be 3 or 5", errUsage, p.nodes)
	}
	switch p.network {
	case networkWires:
	case networkNamespaces:
		p.kubernetes = "" // its API server listens on loopback
	default:
		return p, fmt.Errorf("%w: --network %s, there are %s and %s", errUsage, p.network, networkWires, networkNamespaces)
	}
	if p.duration <= 0 || p.gap <= 0 || p.think <= 0 {
		return p, fmt.Errorf("%w: times must be positive", errUsage)
	}
	_, err := kindsNamed(p.only)
	return p, err
}
