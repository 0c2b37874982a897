package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/keysteward/keysteward/cluster/chaos/history"
)

const (
	pods    = 16
	readers = 4
)

// workload is all clients. Stop it.
type workload struct {
	rec      *history.Recorder
	signing  *history.Signing
	seen     *seen
	settlers *settlers
	clouds   *clouds // nil without Kubernetes

	cancel  context.CancelFunc
	running sync.WaitGroup
	callers int
}

// startWorkload lets clients work until stop is called.
func startWorkload(ctx context.Context, s *stage, p program) (*workload, error) {
	token, err := os.ReadFile(s.Nodes.AdminToken())
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	w := &workload{rec: history.NewRecorder(), signing: history.NewSigning(), seen: &seen{}}
	w.seen.leader.Store(-1)
	ctx, w.cancel = context.WithCancel(ctx)
	newCaller := func() *caller {
		w.callers++
		c := &caller{id: w.callers, apis: s.Nodes.APIs(), pids: s.Nodes.PID, token: strings.TrimSpace(string(token)), rec: w.rec, seen: w.seen}
		c.http = newClient()
		return c
	}
	random := func(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(p.seed, stream)) } //nolint:gosec // nobody must not guess it
	for i := range pods {
		one := &pod{caller: newCaller(), name: podName(i), r: random(uint64(100 + i)), think: p.think, signing: w.signing}
		w.running.Go(func() { one.live(ctx) })
	}
	for i := range readers {
		one := &reader{caller: newCaller(), r: random(uint64(200 + i)), think: p.think}
		w.running.Go(func() { one.read(ctx) })
	}
	if s.kubernetes != nil {
		if w.clouds, err = newClouds(ctx, s); err != nil {
			w.stop()
			return nil, err
		}
		for i := range builders {
			w.running.Go(func() { w.clouds.build(ctx, i, random(uint64(300+i))) }) //nolint:gosec // a handful
		}
	}
	w.settlers = &settlers{stage: s, signing: w.signing, rec: w.rec}
	w.running.Go(func() { w.settlers.come(ctx) })
	return w, nil
}

// stop returns when no client does anything any more.
func (w *workload) stop() {
	w.cancel()
	w.running.Wait()
}

// reader asks again and again what some pod holds.
type reader struct {
	*caller
	r     *rand.Rand
	think time.Duration
}

func (x *reader) read(ctx context.Context) {
	for ctx.Err() == nil {
		kind := history.Read
		if x.r.IntN(2) == 0 {
			kind = history.StaleRead
		}
		x.caller.read(ctx, x.r.IntN(len(x.apis)), podName(x.r.IntN(pods)), kind)
		_ = pause(ctx, time.Duration(x.r.ExpFloat64()*float64(x.think)))
	}
}
