package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/keysteward/keysteward/node/failpoint"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	c, err := parse(os.Args[1:])
	if err == nil {
		err = c.wage(ctx, os.Stdout)
	}
	stop()
	switch {
	case err == nil:
		return
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "crash: interrupted")
	case !errors.Is(err, errViolations): // those were told
		fmt.Fprintln(os.Stderr, "crash:", err)
	}
	os.Exit(1)
}

var errUsage = errors.New("wrong usage")

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
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	if *point != "" {
		if !slices.Contains(c.points, failpoint.Name(*point)) {
			return nil, fmt.Errorf("%w: no point %q, there are %v", errUsage, *point, c.points)
		}
		c.points = []failpoint.Name{failpoint.Name(*point)}
	}
	if *only != "" {
		if !slices.Contains(c.faults, fault(*only)) {
			return nil, fmt.Errorf("%w: no fault %q, there are %v", errUsage, *only, c.faults)
		}
		c.faults = []fault{fault(*only)}
	}
	if c.runs < 1 {
		return nil, fmt.Errorf("%w: %d runs", errUsage, c.runs)
	}
	return c, nil
}
