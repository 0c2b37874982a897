package cluster

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/hashicorp/raft"
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
		host, port, err := net.SplitHostPort(address)
		if !ok || err != nil || name == "" || host == "" || port == "" || strings.ContainsAny(text, "@, ") {
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

// describe is the list as text, the same on every node that was given the same.
func describe(founders []Peer) string {
	list := make([]string, len(founders))
	for i, f := range founders {
		list[i] = f.Name + "=" + f.Raft
	}
	return strings.Join(list, ",")
}

// found founds the cluster when all founders have answered that they are empty,
// on the one with the lowest ordinal alone. A founder that is silent, or one
// with state, means waiting: a wiped first node never founds a second cluster.
// All must have been given the same list, else two nodes could each be the
// first of theirs.
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
			return nil, fmt.Sprintf("%s at %s %s", peer.Name, peer.Raft, silence(err))
		case id.Name != peer.Name:
			return nil, fmt.Sprintf("the node at %s is called %q, not %s", peer.Raft, id.Name, peer.Name)
		case id.HasState:
			return nil, peer.Name + " has state already: this node has to be added to its cluster"
		case id.Founders != p.founders:
			return nil, fmt.Sprintf("%s was given other founders: %q", peer.Name, id.Founders)
		case peer.Name == cfg.Node.Name() && id.ID != cfg.Node.ID():
			return nil, fmt.Sprintf("another node answers at %s, the address of this one", peer.Raft)
		}
		servers = append(servers, raft.Server{
			Suffrage: raft.Voter, ID: raft.ServerID(id.ID), Address: raft.ServerAddress(peer.Raft),
		})
	}
	return servers, ""
}

// silence says why a founder does not answer, as far as that stays the same from one
// question to the next.
func silence(err error) string {
	if wrong, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "does not prove to be there: " + wrong.Error()
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return fmt.Sprintf("refuses this node's certificate (%v); its log says why", op.Err)
	}
	return "does not answer"
}
