package clouds

import (
	"bytes"
	"context"
	"sync"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// link is how a worker stands with its cluster.
type link struct {
	conn    *connection // nil before there was one
	sealed  []byte      // that conn was made of
	away    reason      // why the cluster is away; none while it is there
	trouble reason      // why our requests can not be watched
	ready   bool
	changed chan struct{} // closed when any of this changes, or everybody is called
	again   chan struct{} // closed when conn is to be made anew
}

func newLink() link {
	return link{changed: make(chan struct{}), again: make(chan struct{}), away: reason{}}
}

// call ends the pauses of everybody.
func (l *link) call() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *link) reopen() {
	close(l.again)
	l.again = make(chan struct{})
}

// check has the connection made anew if another kubeconfig was registered.
func (l *link) check(sealed []byte) {
	if l.sealed != nil && !bytes.Equal(sealed, l.sealed) {
		l.sealed = nil
		l.reopen()
	}
}

// keepConnected keeps a connection, and its watch, while the cluster is registered.
func (w *worker) keepConnected(ctx context.Context) {
	for failures := 1; ctx.Err() == nil; failures++ {
		w.mu.Lock()
		again := w.link.again
		w.mu.Unlock()
		cluster := w.registered()
		if cluster == nil {
			return
		}
		w.mu.Lock()
		w.link.sealed = cluster.GetSealed() // another one is tried at once, whatever comes of this
		w.mu.Unlock()
		c, err := w.open(ctx, cluster)
		if err == nil {
			if err = w.identify(ctx, c); err != nil {
				c.close()
			}
		}
		if err != nil {
			w.away(nil, explain(err))
			if !sleep(ctx, w.cfg.pauseAfter(failures), again) {
				failures = 0
			}
			continue
		}
		failures = 0
		w.use(ctx, c, cluster.GetSealed(), again)
	}
}

// use uses a connection until it is to be made again. Whoever works with it stops then.
func (w *worker) use(ctx context.Context, c *connection, sealed []byte, again <-chan struct{}) {
	defer c.close()
	watching, stop := context.WithCancel(ctx)
	defer stop()
	c.life = watching
	w.mu.Lock()
	w.link.conn, w.link.sealed = c, sealed
	w.link.ready, w.link.trouble = false, reason{}
	w.mu.Unlock()
	var watcher sync.WaitGroup
	watcher.Go(func() {
		c.watch(watching, w.cfg.RetryMin, w.cfg.RetryMax, func(err error) { w.hear(c, err) })
	})
	select {
	case <-again:
	case <-ctx.Done():
	}
	w.mu.Lock()
	w.link.ready = false
	w.mu.Unlock()
	stop()
	watcher.Wait()
}

func (w *worker) open(ctx context.Context, cluster *fsmpb.KubernetesCluster) (*connection, error) {
	canonical, err := w.cfg.Secrets.Kubeconfig(ctx, cluster)
	if err != nil {
		return nil, err
	}
	defer clear(canonical)
	return connect(canonical, w.session.View().Meta().GetClusterId(), w.cfg.wrap)
}

// hear takes in how a try to list or watch went.
func (w *worker) hear(c *connection, err error) {
	why := reason{}
	if err != nil {
		why = explain(err)
	}
	if why.isAway() {
		w.away(c, why)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.link.conn != c {
		return
	}
	if w.link.ready && w.link.away == (reason{}) && w.link.trouble == why {
		return
	}
	if why.code == "" {
		w.log.Info("Kubernetes cluster is there", "server", c.cluster.Server)
	} else {
		w.log.Warn("certificate signing requests of a Kubernetes cluster can not be watched", "code", why.code, "reason", why.detail)
	}
	if !w.link.ready {
		w.sweepAfterwards() // what was left there while it was away
	}
	w.link.ready, w.link.away, w.link.trouble = true, reason{}, why
	w.duty.metrics.reach(w.key, true)
	w.link.call()
}

// away notes that the cluster is away. Lanes wait until it is back.
func (w *worker) away(c *connection, why reason) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c != nil && w.link.conn != c {
		return
	}
	if w.link.away.code != why.code {
		w.log.Warn("Kubernetes cluster is away: what it lacks waits", "code", why.code, "reason", why.detail)
	}
	w.link.ready, w.link.away = false, why
	w.strange = w.strange || why.code == CodeOtherCluster
	w.duty.metrics.reach(w.key, false)
}

// connected waits until the cluster is there.
func (w *worker) connected(ctx context.Context) (*connection, error) {
	for {
		w.mu.Lock()
		c, ready, changed := w.link.conn, w.link.ready, w.link.changed
		w.mu.Unlock()
		if ready {
			return c, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err() //nolint:wrapcheck // the lane knows
		}
	}
}

// called is closed when pauses are to end.
func (w *worker) called() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.link.changed
}

// unwatched is why requests can not be watched, an error that is a reason; nil if they can.
func (w *worker) unwatched() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.link.trouble.code == "" {
		return nil
	}
	return &waiting{reason: w.link.trouble}
}
