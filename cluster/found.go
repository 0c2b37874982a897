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

	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/pki"
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

// isFounder tells whether this node is one of those who found the cluster.
func (p *peers) isFounder() bool {
	return slices.ContainsFunc(p.founders, func(f Peer) bool { return f.Name == p.node.Name() })
}

// found founds the cluster when all founders have answered that they are empty,
// on the one with the lowest ordinal alone. A founder that is silent means waiting; one
// with state, that there is a cluster already, which may let this node in: a wiped
// first node never founds a second one. All must have been given the same list, else
// two nodes could each be the first of theirs. Others of the founders' kind are asked
// too: a cluster that grew may live on without all of its founders.
func (s *seeker) found(ctx context.Context) (waiting string, err error) {
	v := s.survey(ctx)
	f := v.judge()
	switch first := s.founders[0].Name; {
	case len(f.there) > 0:
		reason, err := s.ask(ctx, node.Configuration{})
		return f.there[0].Name + " has state already: " + reason, err
	case f.waiting != "":
		return notFounded + f.waiting, nil
	case first != s.node.Name():
		return notFounded + "all are there, and " + first + " founds it", nil
	}
	if why := s.confirm(ctx, v); why != "" {
		return notFounded + why, nil
	}
	s.log.Info("founding the cluster", "members", len(f.servers))
	return "", s.node.Bootstrap(f.servers) //nolint:wrapcheck // says what it is
}

const notFounded = "the cluster is not founded yet: "

// silence says why a founder does not answer, as far as that stays the same from one
// question to the next.
func silence(err error) string {
	if wrong, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "does not prove to be there: " + pki.Complaint(wrong)
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return fmt.Sprintf("does not answer: the name %s does not resolve (yet)", dns.Name)
		}
		return fmt.Sprintf("does not answer: the name %s can not be looked up (%s)", dns.Name, dns.Err)
	}
	if said, ok := errors.AsType[refusal](err); ok {
		return "says " + said.Error()
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return fmt.Sprintf("refuses this node's certificate (%v); its log says why", op.Err)
	}
	return "does not answer"
}
