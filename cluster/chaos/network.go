package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/keysteward/keysteward/cluster/chaos/netns"
	"github.com/keysteward/keysteward/cluster/chaos/wires"
	"github.com/keysteward/keysteward/cluster/local"
)

// What is between the nodes.
const (
	// networkWires: all on loopback, without TLS, with wires of TCP between them.
	networkWires = "wires"
	// networkNamespaces: each in a network namespace of its own, with an address of its own
	// and TLS; what is cut are packets.
	networkNamespaces = "namespaces"
)

// open prepares the nodes and what is between them.
func (s *stage) open(ctx context.Context, p program, dir string) (err error) {
	o := local.NodesOptions{Dir: filepath.Join(dir, "cluster"), Keysteward: p.keysteward, Count: p.nodes}
	if p.network == networkNamespaces {
		n, err := netns.New(p.nodes)
		if err != nil {
			return fmt.Errorf("network: %w", err)
		}
		s.links, s.unlink, o.TLS, o.Place = n, n.Close, true, n
	}
	if s.Nodes, err = local.OpenNodesWith(ctx, o); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if p.network == networkNamespaces {
		// Everything in this process that speaks TLS speaks it with nodes.
		return os.Setenv("SSL_CERT_FILE", s.Nodes.CA()) //nolint:wrapcheck // never fails
	}
	addresses := make([]string, p.nodes)
	for i := range addresses {
		addresses[i] = s.Nodes.RaftAddress(i)
	}
	w, err := wires.New(ctx, addresses)
	if err != nil {
		return err //nolint:wrapcheck // says what it is
	}
	s.links, s.unlink = w, w.Close
	// It listens on a host of its own, and is advertised where its wire is.
	s.listens = func(i int) []string {
		return []string{"--raft-addr", net.JoinHostPort(wires.MemberHost(i), strconv.Itoa(s.Nodes.RaftPort(i)))}
	}
	return nil
}
