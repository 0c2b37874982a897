package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"github.com/keysteward/keysteward/node"
)

// Peer is a node that belongs to the cluster when it is founded.
type Peer struct {
	Name string
	Raft string // host:port
}

// ParsePeers reads NAME=HOST:PORT, and puts the lowest ordinal first, whatever
// the order in the text: n2 before n10.
func ParsePeers(list []string) ([]Peer, error) {
	peers := make([]Peer, 0, len(list))
	for _, text := range list {
		name, address, ok := strings.Cut(text, "=")
		if _, _, err := net.SplitHostPort(address); !ok || name == "" || err != nil {
			return nil, fmt.Errorf("peer %q: want NAME=HOST:PORT", text)
		}
		if slices.ContainsFunc(peers, func(p Peer) bool { return p.Name == name || p.Raft == address }) {
			return nil, fmt.Errorf("peer %q: its name or address is there twice", text)
		}
		peers = append(peers, Peer{Name: name, Raft: address})
	}
	slices.SortFunc(peers, func(a, b Peer) int {
		return cmp.Or(cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	return peers, nil
}

// Config says how a node finds the others.
type Config struct {
	Node *node.Node
	Link *node.Link
	// API is the URL under which this node's API is reached.
	API string
	// Founders are all members of a new cluster, this node included.
	Founders []Peer
	Logger   *slog.Logger
}

const (
	foundInterval    = 250 * time.Millisecond
	announceInterval = 500 * time.Millisecond
	lagInterval      = time.Second
)

// Run answers the other members, founds the cluster if that is this node's
// part, and keeps the leader informed, until the context ends.
func Run(ctx context.Context, cfg Config) error {
	p := newPeers(cfg.Node, cfg.Link)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.serve(ctx, cfg.Link.PeerListener()) })
	g.Go(func() error { return found(ctx, cfg, p) })
	g.Go(func() error { return announceAlways(ctx, cfg, p) })
	g.Go(func() error { return watchLag(ctx, cfg.Node, p) })
	err := g.Wait()
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("cluster: %w", err)
	}
	return nil
}

// found founds the cluster when all founders have answered that they are empty,
// on the one with the lowest ordinal alone. A founder that is silent, or one
// with state, means waiting: a wiped first node never founds a second cluster.
func found(ctx context.Context, cfg Config, p *peers) error {
	if len(cfg.Founders) == 0 || cfg.Founders[0].Name != cfg.Node.Name() {
		return nil
	}
	said := ""
	for !cfg.Node.HasState() {
		servers, waiting := survey(ctx, cfg, p)
		if waiting == "" {
			cfg.Logger.Info("founding the cluster", "members", len(servers))
			return cfg.Node.Bootstrap(servers) //nolint:wrapcheck // says what it is
		}
		if waiting != said {
			cfg.Logger.Info("not founding the cluster yet", "reason", waiting)
			said = waiting
		}
		if err := pause(ctx, foundInterval); err != nil {
			return err
		}
	}
	return nil
}

// survey asks all founders who they are; waiting says why they can not begin.
func survey(ctx context.Context, cfg Config, p *peers) (servers []raft.Server, waiting string) {
	for _, peer := range cfg.Founders {
		id, err := p.identity(ctx, peer.Raft)
		switch {
		case err != nil:
			return nil, fmt.Sprintf("%s at %s does not answer", peer.Name, peer.Raft)
		case id.Name != peer.Name:
			return nil, fmt.Sprintf("the node at %s is called %s, not %s", peer.Raft, id.Name, peer.Name)
		case id.HasState:
			return nil, fmt.Sprintf("%s has state already: this node has to be added to its cluster", peer.Name)
		}
		servers = append(servers, raft.Server{
			Suffrage: raft.Voter, ID: raft.ServerID(id.ID), Address: raft.ServerAddress(peer.Raft),
		})
	}
	return servers, ""
}

// announceAlways sees to it that the state says where this node's API is.
func announceAlways(ctx context.Context, cfg Config, p *peers) error {
	self := announcement{ID: cfg.Node.ID(), Name: cfg.Node.Name(), Raft: cfg.Link.Advertised(), API: cfg.API}
	for {
		m := cfg.Node.View().Member(self.ID)
		if m.GetApiUrl() != self.API || m.GetRaftAddress() != self.Raft {
			if err := announceOnce(ctx, cfg.Node, p, self); err != nil {
				cfg.Logger.Debug("the leader does not know this node's API yet", "error", err)
			}
		}
		if err := pause(ctx, announceInterval); err != nil {
			return err
		}
	}
}

func announceOnce(ctx context.Context, n *node.Node, p *peers, self announcement) error {
	status := n.Status()
	if status.LeaderID == self.ID {
		return p.record(ctx, self)
	}
	for _, peer := range status.Peers {
		if peer.ID == status.LeaderID {
			return p.announce(ctx, peer.Raft, self)
		}
	}
	return node.ErrNotLeader
}

// watchLag asks the other members how far they are, while this node leads.
func watchLag(ctx context.Context, n *node.Node, p *peers) error {
	for {
		status := n.Status()
		if status.IsLeader {
			for _, peer := range status.Peers {
				if peer.ID == n.ID() {
					continue
				}
				if id, err := p.identity(ctx, peer.Raft); err == nil && id.ID == peer.ID {
					n.ReportIndex(peer.ID, id.Applied)
				} else {
					n.ForgetIndex(peer.ID)
				}
			}
		}
		if err := pause(ctx, lagInterval); err != nil {
			return err
		}
	}
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
