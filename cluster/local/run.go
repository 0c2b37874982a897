package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/keysteward/keysteward/cluster/local/devchain"
)

// ErrBinary says that the keysteward binary was not found.
var ErrBinary = errors.New("no keysteward binary")

// errInterrupted is the cause of an end that somebody asked for.
var errInterrupted = errors.New("interrupted")

// launcher is one run.
type launcher struct {
	options Options
	console *console
	binary  string
	folder  *folder
	site    *site
	spawner *spawner
	nodes   *supervisor
	chain   *devchain.Chain
	// impatience is how much later a second signal kills.
	impatience time.Duration

	mu      sync.Mutex
	written *ClusterFile // what cluster.json says; nil before it is written
}

// Run brings the cluster up, gives the example pods their keys, says what runs
// where, and stays until a signal tells it to stop: SIGINT or SIGTERM; SIGHUP starts
// nodes again that have ended. It returns nil after such an end, unless
// Options.Once was not done by then. When it returns, nothing of it runs any more.
func Run(ctx context.Context, o Options, out io.Writer, signals <-chan os.Signal) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	l := &launcher{options: o, console: &console{out: out}, impatience: impatience}
	if l.binary, err = findKeysteward(o.Keysteward); err != nil {
		return err
	}
	if l.folder, err = openFolder(o.Dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.folder.close()) }()
	count, err := l.folder.nodes(o.Nodes)
	if err != nil {
		return err
	}
	if given := o.FundingETH; !l.folder.fresh && given > 0 && given != l.folder.memory.FundingETH {
		return fmt.Errorf("%w: --%s %d: the chain in %s was made with another amount; leave the flag out, or use another --dir", ErrUsage, flagFundingETH, given, l.folder.path)
	}
	p, err := choosePorts(ctx, o, l.folder, count)
	if err != nil {
		return err
	}
	l.site = &site{folder: l.folder, ports: p, more: func(int) []string { return o.NodeFlags }}
	l.spawner = newSpawner()
	defer l.spawner.close()
	l.nodes = newSupervisor(l.spawner, l.binary, l.site, l.reportEnd)
	return l.live(ctx, count, signals)
}

// live runs the cluster while it listens to signals.
func (l *launcher) live(ctx context.Context, count int, signals <-chan os.Signal) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	over := make(chan struct{})
	var listening sync.WaitGroup
	listening.Go(func() { l.heed(ctx, signals, over, cancel) })

	err := l.up(ctx, count)
	if err == nil && !l.options.Once {
		err = l.stay(ctx)
	}
	if err == nil && l.nodes.losses() > 0 {
		err = fmt.Errorf("%w: nodes ended by themselves", ErrNode)
	}
	interrupted := errors.Is(context.Cause(ctx), errInterrupted)
	down := l.down() //nolint:contextcheck // what stops must not be stopped
	close(over)
	listening.Wait()

	if interrupted && !l.options.Once {
		if down != nil {
			l.console.printf("%v\n", down)
		}
		return nil
	}
	return errors.Join(err, down)
}

// stay returns when the run is to end.
func (l *launcher) stay(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx) //nolint:wrapcheck // says who
	case <-l.chain.Done():
		return errors.New("the chain has stopped") // closing it says why
	}
}

// down stops the nodes, then the chain, which they need until then.
func (l *launcher) down() error {
	return l.console.run("stopping", func() error {
		err := l.nodes.close()
		if l.chain != nil {
			err = errors.Join(err, l.chain.Close())
		}
		return err
	})
}

// reportEnd says that a node has ended unasked, once the cluster was up; before, the
// step fails that waits for the node.
func (l *launcher) reportEnd(p *process) {
	l.mu.Lock()
	up := l.written != nil
	l.mu.Unlock()
	if !up {
		return
	}
	l.console.printf("%s (PID %d) has ended: %s. Start it again: kill -HUP %d\n", p.name, p.pid(), p.outcome(), os.Getpid())
}

// findKeysteward returns the absolute path of the node's binary.
func findKeysteward(wanted string) (string, error) {
	if wanted != "" {
		path, err := exec.LookPath(wanted)
		if err != nil {
			return "", fmt.Errorf("%w: --keysteward: %w", ErrBinary, err)
		}
		return filepath.Abs(path) //nolint:wrapcheck // fails without a working directory only
	}
	if self, err := os.Executable(); err == nil {
		if path, err := exec.LookPath(filepath.Join(filepath.Dir(self), "keysteward")); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath("keysteward")
	if err != nil {
		return "", fmt.Errorf("%w beside this one or in PATH: build it (make build), or name it with --keysteward", ErrBinary)
	}
	return filepath.Abs(path) //nolint:wrapcheck // fails without a working directory only
}
