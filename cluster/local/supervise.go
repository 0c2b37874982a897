package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// stopTime is how long nodes may take to hand over and stop before they are killed.
const stopTime = 15 * time.Second

// supervisor runs the processes of the nodes. Close it.
type supervisor struct {
	spawner *spawner
	binary  string
	site    *site
	ended   func(*process) // told of each that ended unasked
	grace   time.Duration  // between SIGTERM and SIGKILL

	mu       sync.Mutex
	nodes    []*process // the last of each node; nil before the first start
	stopping bool
	lost     int // how many ended unasked
	watchers sync.WaitGroup
}

func newSupervisor(spawner *spawner, binary string, s *site, ended func(*process)) *supervisor {
	return &supervisor{
		spawner: spawner, binary: binary, site: s, ended: ended, grace: stopTime,
		nodes: make([]*process, len(s.ports.API)),
	}
}

// start starts every node that was never started.
func (v *supervisor) start(ctx context.Context) error {
	_, err := v.startEach(ctx, func(p *process) bool { return p == nil })
	return err
}

// use has nodes that are started from now on run another program.
func (v *supervisor) use(binary string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.binary = binary
}

// restart starts every node again that has ended.
func (v *supervisor) restart(ctx context.Context) (started []*process, err error) {
	return v.startEach(ctx, func(p *process) bool { return p != nil && !p.running() })
}

// startOne starts one node that does not run.
func (v *supervisor) startOne(ctx context.Context, i int) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.stopping || v.nodes[i] != nil && v.nodes[i].running() {
		return nil
	}
	return v.startNode(ctx, i)
}

func (v *supervisor) startEach(ctx context.Context, wanted func(last *process) bool) (started []*process, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range v.nodes {
		if v.stopping || !wanted(v.nodes[i]) {
			continue
		}
		if err := v.startNode(ctx, i); err != nil {
			return started, err
		}
		started = append(started, v.nodes[i])
	}
	return started, nil
}

func (v *supervisor) startNode(ctx context.Context, i int) error {
	if err := os.MkdirAll(v.site.folder.in(nodeName(i)), folderMode); err != nil {
		return fmt.Errorf("folder of %s: %w", nodeName(i), err)
	}
	log, err := openLog(v.site.log(i))
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own
	p, err := startProcess(ctx, v.starter(i), nodeName(i), v.binary, v.site.serverArgs(i), v.site.env, log)
	if err != nil {
		return err
	}
	v.nodes[i] = p
	v.watchers.Go(func() {
		<-p.done
		v.mu.Lock()
		unasked := !v.stopping
		if unasked {
			v.lost++
		}
		v.mu.Unlock()
		if unasked {
			v.ended(p)
		}
	})
	return nil
}

// starter starts the processes of a node where it has its place.
func (v *supervisor) starter(i int) starter {
	if v.site.place == nil {
		return v.spawner
	}
	return placed{place: v.site.place, node: i}
}

// process returns the process of the node that was started last.
func (v *supervisor) process(i int) *process {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.nodes[i]
}

// dead returns a node that does not run; -1 if all do.
func (v *supervisor) dead() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.IndexFunc(v.nodes, func(p *process) bool { return !p.running() })
}

// losses returns how many nodes ended unasked since the start.
func (v *supervisor) losses() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.lost
}

// kill ends all nodes at once.
func (v *supervisor) kill() {
	for _, p := range v.stopped() {
		_ = p.signal(syscall.SIGKILL) // it ends, or has ended
	}
}

// close asks all nodes to stop and waits until they have; those that take too long
// are killed and named in the error.
func (v *supervisor) close() error {
	var failures []error
	nodes := v.stopped()
	for _, p := range nodes {
		failures = append(failures, p.signal(syscall.SIGTERM))
	}
	deadline := time.NewTimer(v.grace)
	defer deadline.Stop()
	late := false
	for _, p := range nodes {
		if !late {
			select {
			case <-p.done:
				continue
			case <-deadline.C:
				late = true
			}
		}
		if p.running() {
			failures = append(failures, fmt.Errorf("%s did not stop within %v and was killed", p.name, v.grace), p.signal(syscall.SIGKILL))
		}
	}
	for _, p := range nodes {
		<-p.done
	}
	v.watchers.Wait()
	return errors.Join(failures...)
}

// stopped lets nothing start any more and returns what was started.
func (v *supervisor) stopped() []*process {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stopping = true
	var started []*process
	for _, p := range v.nodes {
		if p != nil {
			started = append(started, p)
		}
	}
	return started
}
