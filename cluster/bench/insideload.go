package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
)

// Kinds of load within the leader's process.
const (
	loadWrites       = "writes"
	loadStale        = "stale"
	loadLinearizable = "linearizable"
)

// insideLoad puts the node under load by clients in its own process. Of writes each
// allocation and each release is an operation that is timed. The clients go on for as long
// as a snapshot takes.
func insideLoad(ctx context.Context, n *node.Node, o order) (told, error) {
	begin := time.Now()
	until := begin.Add(time.Duration(o.Seconds * float64(time.Second)))
	l := &insideClients{node: n}
	var workers sync.WaitGroup
	for i := range o.Clients {
		workers.Go(func() { l.work(ctx, o.Kind, fmt.Sprintf("load-%d", i)) })
	}
	var from, to time.Time // of the snapshot
	var failure error
	if o.Snapshot {
		time.Sleep(time.Duration(o.Seconds / 4 * float64(time.Second)))
		from = time.Now()
		failure = n.Snapshot()
		to = time.Now()
	}
	time.Sleep(time.Until(until))
	l.over.Store(true)
	workers.Wait()
	t := told{}
	if o.Snapshot {
		slices.SortFunc(l.done, time.Time.Compare)
		t.SnapshotMs = float64(to.Sub(from).Microseconds()) / 1000
		t.InItMs, t.LongestMs = l.longest(from, to), l.longest(begin, from)
	}
	t.Figure = rate("", "ops/s", l.latencies, time.Since(begin))
	return t, errors.Join(l.failure, failure)
}

// insideClients is what some clients did.
type insideClients struct {
	node *node.Node
	over atomic.Bool

	mu        sync.Mutex
	latencies []time.Duration
	done      []time.Time // when something was acknowledged
	failure   error
}

func (l *insideClients) work(ctx context.Context, kind, pod string) {
	for !l.over.Load() {
		var err error
		switch kind {
		case loadWrites:
			err = l.allocateAndRelease(ctx, pod)
		case loadLinearizable:
			err = l.timed(func() error {
				if err := l.node.Barrier(ctx); err != nil {
					return err //nolint:wrapcheck // says what it is
				}
				l.node.View().Allocation("bench", "stock-0")
				return nil
			})
		default:
			err = l.timed(func() error {
				l.node.View().Allocation("bench", "stock-0")
				return nil
			})
		}
		if err != nil {
			l.mu.Lock()
			l.failure = cmp.Or(l.failure, err) // the first tells why
			l.mu.Unlock()
			return
		}
	}
}

func (l *insideClients) timed(op func() error) error {
	begin := time.Now()
	if err := op(); err != nil {
		return err
	}
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.latencies = append(l.latencies, now.Sub(begin))
	l.done = append(l.done, now)
	return nil
}

func (l *insideClients) allocateAndRelease(ctx context.Context, pod string) error {
	var fence uint64
	err := l.timed(func() error {
		value, err := propose(ctx, l.node, &fsmpb.Command{Body: &fsmpb.Command_Allocate{Allocate: &fsmpb.Allocate{
			Pod: &fsmpb.Pod{Namespace: "bench", Name: pod, Uid: pod + "-uid"}, Keys: 1,
		}}})
		if err != nil {
			return err
		}
		a, ok := value.(fsm.Allocated)
		if !ok || a.Request != nil {
			return fmt.Errorf("%w: the pool is empty", errStock)
		}
		fence = a.Allocation.GetFence()
		return nil
	})
	if err != nil {
		return err
	}
	return l.timed(func() error {
		_, err := propose(ctx, l.node, releaseOf(pod, fence))
		return err
	})
}

func releaseOf(pod string, fence uint64) *fsmpb.Command {
	return &fsmpb.Command{Body: &fsmpb.Command_Release{Release: &fsmpb.Release{
		Namespace: "bench", Pod: pod, PodUid: pod + "-uid", Fence: fence, Code: "released", Detail: "by bench",
		Proof: &fsmpb.Proof{Kind: fsmpb.Proof_KIND_CALLER, By: "bench"},
	}}}
}

// propose is as the API does it: with a caller and the ID of a request.
func propose(ctx context.Context, n stocked, c *fsmpb.Command) (any, error) {
	c.Caller = &fsmpb.Caller{Name: "bench", Role: "admin", Remote: "127.0.0.1", Method: "token", Credential: "0123456789abcdef"}
	c.RequestId = "00000000-0000-4000-8000-000000000000"
	return n.Propose(ctx, c) //nolint:wrapcheck // says what it is
}

// longest is the longest time without an acknowledgement between two moments, in
// milliseconds.
func (l *insideClients) longest(from, to time.Time) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var most time.Duration
	last := from
	for _, at := range l.done { // in order: they were noted under the lock
		if at.Before(from) {
			continue
		}
		if at.After(to) {
			at = to
		}
		most = max(most, at.Sub(last))
		last = at
	}
	most = max(most, to.Sub(last))
	return float64(most.Microseconds()) / 1000
}
