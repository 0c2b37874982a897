package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keysteward/keysteward/cluster/await"
	"github.com/keysteward/keysteward/cluster/chaos/command"
)

var errNoWork = errors.New("nothing could be changed any more after all was healed")

const (
	// afterTime is for how long clients go on when everything is healed.
	afterTime = 3 * time.Second
	// workTime is how long the first change after that may take.
	workTime = 30 * time.Second
	// glanceTime is how often somebody looks during the chaos whether all is lost already.
	glanceTime = time.Second
)

// run torments one cluster and tells about it. Nothing runs when it returns; the folder
// with data, logs and what was found stays if there were violations, and is told.
func (p program) run(ctx context.Context, out io.Writer) (err error) {
	fmt.Fprintf(out, "chaos: SEED=%d NODES=%d DURATION=%s\n", p.seed, p.nodes, p.duration)
	dir := p.keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "keysteward-chaos-"); err != nil {
			return fmt.Errorf("temporary folder: %w", err)
		}
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			fmt.Fprintf(out, "chaos: SEED=%d: data, logs, faults and the history are in %s\n", p.seed, dir)
			return
		}
		if p.keep == "" {
			_ = os.RemoveAll(dir)
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("folder: %w", err)
	}
	log, err := os.Create(filepath.Join(dir, "faults.log"))
	if err != nil {
		return fmt.Errorf("log of faults: %w", err)
	}
	defer log.Close()
	return p.inFolder(ctx, io.MultiWriter(out, log), dir)
}

func (p program) inFolder(ctx context.Context, out io.Writer, dir string) (err error) {
	s, err := raise(ctx, p, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	found, err := p.torment(ctx, out, s)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		fmt.Fprintf(out, "chaos: SEED=%d: %d VIOLATIONS\n    %s\n", p.seed, len(found), strings.Join(found, "\n    "))
		return command.ErrViolations
	}
	fmt.Fprintf(out, "chaos: SEED=%d: no violation\n", p.seed)
	return nil
}

// torment lets clients work and faults happen, heals everything, and returns what is not
// as it must be.
func (p program) torment(ctx context.Context, out io.Writer, s *stage) ([]string, error) {
	kinds, err := kindsNamed(p.only)
	if err != nil {
		return nil, err
	}
	w, err := startWorkload(ctx, s, p)
	if err != nil {
		return nil, err
	}
	defer w.stop()
	t := newTorment(s, w.seen, out)
	k := &keeper{stage: s, torment: t}
	began := time.Now()
	late := p.chaos(ctx, w, t, k, plan(p, kinds))
	if ctx.Err() != nil {
		return nil, context.Cause(ctx) //nolint:wrapcheck // says who
	}
	tormented := time.Since(began)
	w.stop()
	found := late
	for _, failure := range t.failed {
		found = append(found, "a fault was not as it was meant to be: "+failure)
	}
	found = append(found, k.violations()...)
	patience := settleTime
	if k.hopeless() {
		patience = watchGap
	}
	more, err := p.audit(ctx, out, s, w, patience)
	fmt.Fprintf(out, "chaos: %s\n", p.figures(w, t, k, tormented))
	return append(found, more...), err
}

// chaos carries the plan out and returns, in words, what did not recover afterwards.
func (p program) chaos(ctx context.Context, w *workload, t *torment, k *keeper, plan []strike) (found []string) {
	keeping, stop := context.WithCancel(ctx)
	kept := make(chan struct{})
	go func() { defer close(kept); k.keep(keeping) }()
	defer func() { stop(); <-kept }()

	storm, lost := context.WithCancel(ctx)
	defer lost()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for pause(storm, glanceTime) == nil {
			if len(w.signing.Found()) > 0 || k.hopeless() {
				lost() // there is nothing to be learnt from more
			}
		}
	}()
	t.carryOut(storm, plan)
	lost()
	<-watched
	t.say("all is healed")
	if k.hopeless() {
		return nil // it says itself what is wrong
	}
	if err := t.stage.awaitHealth(ctx); err != nil {
		return []string{err.Error()}
	}
	t.say("the cluster is healthy")
	before := w.seen.changes.Load()
	if err := await.For(ctx, workTime, errNoWork, func() bool { return w.seen.changes.Load() > before+pods }); err != nil {
		return []string{err.Error()}
	}
	_ = pause(ctx, afterTime)
	return nil
}
