package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/keysteward/keysteward/cluster/chaos/command"
	"github.com/keysteward/keysteward/node/failpoint"
)

// mostFailures is after how many trials with violations nothing more is tried.
const mostFailures = 3

// campaign is all runs.
type campaign struct {
	keysteward, geth string
	runs             int
	seed             uint64
	points           []failpoint.Name
	faults           []fault

	out        io.Writer
	dir        string
	tried      int
	keys       int64
	failures   int
	violations int
}

// wage makes all runs and tells about each trial. Nothing runs when it returns; the
// folder with data and logs stays if there were violations, and is told.
func (c *campaign) wage(ctx context.Context, out io.Writer) (err error) {
	c.out = out
	if c.dir, err = os.MkdirTemp("", "keysteward-crash-"); err != nil {
		return fmt.Errorf("temporary folder: %w", err)
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			fmt.Fprintf(out, "crash: logs and data are in %s\n", c.dir)
			return
		}
		_ = os.RemoveAll(c.dir)
	}()
	points, faults := len(c.points), len(c.faults)
	for run := 1; run <= c.runs && c.failures < mostFailures; run++ {
		// Each run has a seed that alone repeats it: the first of another campaign.
		seed := c.seed + uint64(run-1)
		fmt.Fprintf(out, "crash: run %d of %d, SEED=%d\n", run, c.runs, seed)
		if err := c.run(ctx, run, plan(rand.New(rand.NewPCG(seed, 0)), c.points, c.faults)); err != nil { //nolint:gosec // nobody must not guess it
			return err
		}
	}
	fmt.Fprintf(out, "crash: %d points x %d faults x %d runs = %d cases, %d keys, %d violations\n",
		points, faults, c.runs, c.tried, c.keys, c.violations)
	if c.violations > 0 || c.tried != points*faults*c.runs {
		return command.ErrViolations
	}
	return nil
}

// run makes trials on a stage, and on a new one after each that went wrong.
func (c *campaign) run(ctx context.Context, run int, trials []trial) error {
	all := len(trials)
	for stages := 1; len(trials) > 0 && c.failures < mostFailures; stages++ {
		dir := filepath.Join(c.dir, fmt.Sprintf("run-%d-%d", run, stages))
		made, err := c.onStage(ctx, dir, trials, all)
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		trials = trials[made:]
	}
	return nil
}

// onStage makes trials on a new stage until one goes wrong.
func (c *campaign) onStage(ctx context.Context, dir string, trials []trial, all int) (made int, err error) {
	s, err := raise(ctx, c.keysteward, c.geth, dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, t := range trials {
		began := time.Now()
		found, err := s.try(ctx, t)
		if err != nil {
			return made, fmt.Errorf("%s: %w", t, err)
		}
		made, c.tried, c.keys = made+1, c.tried+1, c.keys+t.keys()
		verdict := "ok"
		if len(found) > 0 {
			verdict = fmt.Sprintf("%d VIOLATIONS, see %s\n%s", len(found), dir, summarize(found))
		}
		fmt.Fprintf(c.out, "  %2d/%d  %-76s %d keys  %5.1f s  %s\n", t.number, all, t, t.keys(), time.Since(began).Seconds(), verdict)
		if c.violations += len(found); len(found) > 0 {
			c.failures++
			return made, nil
		}
	}
	found, verdict := s.verify(ctx), "clean"
	if ctx.Err() != nil {
		return made, context.Cause(ctx) //nolint:wrapcheck // says who
	}
	if len(found) > 0 {
		c.violations += len(found)
		c.failures++
		verdict = "VIOLATION\n" + summarize(found)
	}
	fmt.Fprintf(c.out, "  keysteward deposits verify: %s\n", verdict)
	return made, nil
}
