package main

import (
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/keysteward/keysteward/cluster"
	"github.com/keysteward/keysteward/node"
)

// listen opens both ports.
func (o *serverOptions) listen(ctx context.Context, p *parts) error {
	var err error
	if p.certificates, err = o.tls.open(o.raftHost(), p.log); err != nil {
		return err
	}
	scheme := "http"
	if p.certificates.api != nil {
		p.tls = p.certificates.api.ServerConfig()
		scheme = "https"
	}
	var lc net.ListenConfig
	if p.listener, err = lc.Listen(ctx, "tcp", o.apiAddr); err != nil {
		return fmt.Errorf("--api-addr: %w", err)
	}
	if p.apiURL = strings.TrimSuffix(o.apiAdvertise, "/"); p.apiURL == "" {
		p.apiURL = scheme + "://" + p.listener.Addr().String()
	}
	if p.certificates.raft != nil {
		p.link, err = node.ListenTLS(ctx, o.raftAddr, o.raftAdvertise, p.certificates.security(p.founders, p.log))
	} else {
		p.link, err = node.Listen(ctx, o.raftAddr, o.raftAdvertise)
	}
	if err != nil {
		return fmt.Errorf("--raft-addr: %w", err)
	}
	return nil
}

// founders are the members of a new cluster; alone, the node founds its own.
func (o *serverOptions) founders() ([]cluster.Peer, error) {
	if len(o.peers) == 0 {
		return nil, fmt.Errorf("--peers is required: NAME=HOST:PORT of every founding member, --peers %s=%s for a cluster of one", o.name, o.raftAddr)
	}
	peers, err := cluster.ParsePeers(o.peers)
	if err != nil {
		return nil, fmt.Errorf("--peers: %w", err)
	}
	self := cluster.Peer{Name: o.name, Raft: o.raftAdvertise}
	if self.Raft == "" {
		self.Raft = o.raftAddr
	}
	for _, p := range peers {
		if p.Name == o.name {
			return peers, nil
		}
	}
	if !o.invited && !cluster.PatternOf(peers).Fits(self) {
		return nil, fmt.Errorf("--peers does not name this node, %s, and its address %s is not like theirs; with --invited it waits for an operator to let it in", self.Name, self.Raft)
	}
	return peers, nil
}

// isLoopback reports whether an address to listen on is reached from this
// machine alone.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
