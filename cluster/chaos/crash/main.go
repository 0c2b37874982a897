package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/keysteward/keysteward/cluster/chaos/command"
	"github.com/keysteward/keysteward/node/failpoint"
)

func main() {
	command.Main("crash", func(ctx context.Context, args []string) error {
		c, err := parse(args)
		if err != nil {
			return err
		}
		return c.wage(ctx, os.Stdout)
	})
}

// parse reads the command line.
func parse(args []string) (*campaign, error) {
	c := &campaign{points: allPoints(), faults: allFaults()}
	f := flag.NewFlagSet("crash", flag.ExitOnError)
	f.StringVar(&c.keysteward, "keysteward", "", "the keysteward binary, built with the tag failpoints")
	f.StringVar(&c.geth, "geth", "", "the geth binary")
	f.IntVar(&c.runs, "runs", 1, "how often each fault is tried at each point")
	f.Uint64Var(&c.seed, "seed", uint64(time.Now().Unix()), "what decides about everything that may vary") //nolint:gosec // after 1970
	point := f.String("point", "", fmt.Sprintf("only this one of %v", c.points))
	only := f.String("fault", "", fmt.Sprintf("only this one of %v", c.faults))
	if err := f.Parse(args); err != nil {
		return nil, fmt.Errorf("%w: %w", command.ErrUsage, err)
	}
	if *point != "" {
		if !slices.Contains(c.points, failpoint.Name(*point)) {
			return nil, fmt.Errorf("%w: no point %q, there are %v", command.ErrUsage, *point, c.points)
		}
		c.points = []failpoint.Name{failpoint.Name(*point)}
	}
	if *only != "" {
		if !slices.Contains(c.faults, fault(*only)) {
			return nil, fmt.Errorf("%w: no fault %q, there are %v", command.ErrUsage, *only, c.faults)
		}
		c.faults = []fault{fault(*only)}
	}
	if c.runs < 1 {
		return nil, fmt.Errorf("%w: %d runs", command.ErrUsage, c.runs)
	}
	return c, nil
}
