package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"

	"github.com/keysteward/keysteward/cluster"
	"github.com/keysteward/keysteward/node"
)

// listen opens both ports.
func (o *serverOptions) listen(ctx context.Context, p *parts) error {
	scheme := "http"
	if o.tlsCert != "" {
		pair, err := tls.LoadX509KeyPair(o.tlsCert, o.tlsKey)
		if err != nil {
			return fmt.Errorf("--tls-cert: %w", err)
		}
		p.tls = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
		scheme = "https"
	}
	var (
		lc  net.ListenConfig
		err error
	)
	if p.listener, err = lc.Listen(ctx, "tcp", o.apiAddr); err != nil {
		return fmt.Errorf("--api-addr: %w", err)
	}
	if p.apiURL = strings.TrimSuffix(o.apiAdvertise, "/"); p.apiURL == "" {
		p.apiURL = scheme + "://" + p.listener.Addr().String()
	}
	if p.link, err = node.Listen(ctx, o.raftAddr, o.raftAdvertise); err != nil {
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
	for _, p := range peers {
		if p.Name == o.name {
			return peers, nil
		}
	}
	return nil, fmt.Errorf("--peers does not name this node, %s", o.name)
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
