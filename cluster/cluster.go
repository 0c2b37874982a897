package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
)

// Config says how a node finds the others.
type Config struct {
	Node *node.Node
	Link *node.Link
	// API is the URL under which this node's API is reached.
	API string
	// Terms says what this node pays for when it makes deposits, which must be the
	// same on all nodes; empty if it makes none.
	Terms string
	// Keys are the key-encryption keys of this node, as far as they are known; may be nil.
	Keys func() []*fsmpb.KeyEncryptionKey
	// Founders are all members of a new cluster. A node that is none of them is let
	// into the cluster that they founded, if it is of their kind ([Pattern]).
	Founders []Peer
	// Scale says how many nodes there are to be; nil if nobody does.
	Scale Scale
	// Report is told what is waited for; may be nil.
	Report *Report
	Logger *slog.Logger
}

const (
	foundInterval    = 250 * time.Millisecond
	announceInterval = 500 * time.Millisecond
	lagInterval      = time.Second
)

func (c Config) keys() []*fsmpb.KeyEncryptionKey {
	if c.Keys == nil {
		return nil
	}
	return c.Keys()
}

// Cluster is a node's place among the others. Its methods but Run change who takes part
// by an operator's word; they are safe for concurrent use.
type Cluster struct {
	cfg   Config
	peers *peers
}

// New makes a Cluster of a node that is open. Nothing happens before [Cluster.Run].
func New(cfg Config) *Cluster {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Cluster{cfg: cfg, peers: newPeers(cfg)}
}

// Run is [Cluster.Run] of a new Cluster.
func Run(ctx context.Context, cfg Config) error { return New(cfg).Run(ctx) }

// Run answers the other members, founds the cluster or has this node let in, looks
// after the members while it leads, and keeps the leader informed, until the context
// ends.
func (c *Cluster) Run(ctx context.Context) error {
	cfg, p := c.cfg, c.peers
	g, within := errgroup.WithContext(ctx)
	g.Go(func() error { return p.serve(within, cfg.Link.PeerListener()) })
	g.Go(func() error { return seek(within, p) })
	g.Go(func() error { return tend(within, p) })
	g.Go(func() error { return announceAlways(within, cfg, p) })
	g.Go(func() error { return watchLag(within, cfg.Node, p) })
	g.Go(func() error { return agree(within, p) })
	if err := g.Wait(); err != nil && !errors.Is(err, ctx.Err()) {
		return fmt.Errorf("cluster: %w", err)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // the caller knows
	case <-t.C:
		return nil
	}
}
