package beacon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Duty sweeps over the cluster's keys. Between sweeps it keeps nothing but the
// place where one was given up.
type Duty struct {
	cfg     Config
	client  *client
	log     *slog.Logger
	metrics *metrics
	from    []byte // the next sweep begins with this public key
	trouble string // that was logged last
	left    int    // complaints that this sweep may still log
}

// New returns a duty that has not asked anything yet. Errors wrap ErrConfig or
// are about registering metrics.
func New(cfg Config) (*Duty, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	cfg = cfg.complete()
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, err
	}
	return &Duty{cfg: cfg, client: c, log: cfg.Logger, metrics: m}, nil
}

// Run sweeps until ctx ends, and then returns nil: whatever goes wrong meanwhile
// is logged when it begins, and tried again. A duty runs in one session at a time.
func (d *Duty) Run(ctx context.Context, s Session) error {
	defer d.metrics.reset()
	defer d.client.cfg.HTTP.CloseIdleConnections()
	tick := time.NewTicker(d.cfg.Every)
	defer tick.Stop()
	for {
		started := time.Now()
		err := d.sweep(ctx, s)
		if ctx.Err() != nil {
			return nil
		}
		d.metrics.swept(err, time.Since(started), d.from == nil)
		d.tell(err)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// tell logs trouble when it begins, changes or ends, and not with every sweep.
func (d *Duty) tell(err error) {
	now := ""
	if err != nil {
		now = err.Error()
	}
	switch {
	case now == d.trouble:
	case err != nil:
		d.log.Warn("validators could not all be looked at", "beacon", d.client.host, "code", codeOf(err), "reason", now)
	default:
		d.log.Info("validators are looked at again", "beacon", d.client.host)
	}
	d.trouble = now
}

// codeOf is the kind of trouble in one word, for log and metric.
func codeOf(err error) string {
	refused := (*statusError)(nil)
	switch {
	case errors.Is(err, errForeign):
		return "foreign"
	case errors.Is(err, errSyncing):
		return "syncing"
	case errors.Is(err, errNotFinal):
		return "not-final"
	case errors.Is(err, errRefused), errors.As(err, &refused):
		return "refused"
	case errors.Is(err, errCluster):
		return "cluster"
	default:
		return "unreachable"
	}
}

// mostComplaints is how many keys one sweep complains of in the log.
const mostComplaints = 10

// complain logs what is wrong with one key. The rest of the sweep goes on.
func (d *Duty) complain(what string, reason error) {
	if d.left--; d.left >= 0 {
		d.log.Warn(what, "beacon", d.client.host, "reason", reason) //nolint:sloglint // one of two constants
	}
	if d.left == 0 {
		d.log.Warn("there may be more such keys in this sweep, which are not logged")
	}
}

// tooMany is how many batches may fail in a row before a sweep is given up.
const tooMany = 3

// sweep looks once at every key from where the last sweep was given up. The error
// says why not all were looked at.
func (d *Duty) sweep(ctx context.Context, s Session) error {
	if err := d.client.checkNode(ctx); err != nil {
		return err
	}
	var last error
	failed := 0 // in a row
	d.left = mostComplaints
	for {
		keys := nextBatch(s.View(), d.from, d.cfg.Batch)
		if len(keys) == 0 {
			d.from = nil
			return last
		}
		d.from = behind(keys[len(keys)-1].GetPubkey())
		err := d.look(ctx, s, keys)
		switch {
		case ctx.Err() != nil:
			return ctx.Err() //nolint:wrapcheck // nobody looks at it
		case endsSession(err):
			return err
		case err == nil:
			failed = 0
			continue
		}
		if last = err; errors.Is(err, errNotFinal) {
			continue // nothing is wrong with asking on
		}
		if failed++; failed == tooMany {
			return fmt.Errorf("gave up after %d batches of keys in a row: %w", failed, err)
		}
	}
}
