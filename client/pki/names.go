package pki

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"
)

// ErrName is wrapped by errors about names that can not stand in a certificate.
var ErrName = errors.New("unusable name")

// Node is a member that gets certificates.
type Node struct {
	Name string
	// Hosts are the DNS names and IPs under which it is reached, the first at least
	// by the other members.
	Hosts []string
}

var (
	nodeName   = regexp.MustCompile(`^[A-Za-z0-9][-._A-Za-z0-9]{0,99}$`)
	clientName = regexp.MustCompile(`^[A-Za-z0-9][-._@A-Za-z0-9]{0,62}$`)
	hostName   = regexp.MustCompile(`^([A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?$`)
)

// Roles are those that a caller's certificate can be for.
func Roles() []string { return []string{"admin", "operator", "viewer"} }

// ParseNodes reads NAME=HOST and further hosts of the same node: n1=a.example,
// 10.0.0.1, n2=b.example is a list of four elements and two nodes.
func ParseNodes(list []string) ([]Node, error) {
	var nodes []Node
	for _, text := range list {
		host := text
		if name, first, ok := strings.Cut(text, "="); ok {
			if !nodeName.MatchString(name) {
				return nil, fmt.Errorf("%w: node %q: want letters, digits, '-', '_' and '.'", ErrName, name)
			}
			if slices.ContainsFunc(nodes, func(n Node) bool { return n.Name == name }) {
				return nil, fmt.Errorf("%w: node %s is there twice", ErrName, name)
			}
			nodes, host = append(nodes, Node{Name: name}), first
		}
		if len(nodes) == 0 {
			return nil, fmt.Errorf("%w: %q: want NAME=HOST", ErrName, text)
		}
		if err := checkHost(host); err != nil {
			return nil, err
		}
		last := &nodes[len(nodes)-1]
		last.Hosts = append(last.Hosts, host)
	}
	return nodes, nil
}

// checkHost wants a DNS name without wildcard, or an IP; no port.
func checkHost(host string) error {
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
		return nil
	}
	if len(host) > 253 || !hostName.MatchString(host) || net.ParseIP(host) != nil {
		return fmt.Errorf("%w: host %q: want a DNS name or an IP, without port", ErrName, host)
	}
	return nil
}

// Caller is somebody who gets a certificate to call the API.
type Caller struct{ Name, Role string }

// ParseCaller reads NAME or NAME=ROLE; the role is viewer if it is not given.
func ParseCaller(text string) (Caller, error) {
	name, role, ok := strings.Cut(text, "=")
	if !ok {
		role = "viewer"
	}
	c := Caller{Name: name, Role: role}
	switch {
	case !clientName.MatchString(name):
		return c, fmt.Errorf("%w: caller %q: want letters, digits, '-', '_', '.' and '@', at most 63", ErrName, name)
	case !slices.Contains(Roles(), role):
		return c, fmt.Errorf("%w: role %q: want one of %s", ErrName, role, strings.Join(Roles(), ", "))
	}
	return c, nil
}

// Request is that of the caller's certificate, which says the role as organization.
func (c Caller) Request(lifetime time.Duration) Request {
	return Request{Name: c.Name, Organization: "keysteward:" + c.Role, Client: true, Lifetime: lifetime}
}
