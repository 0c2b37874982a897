// Package clienttest is a cluster for tests of whatever talks to one: a few HTTP
// servers that behave as the API's document says, followers that redirect to the
// leader included, and that can be told to misbehave. No state outlives it, and no
// deposit is made: keys come from a fixed seed.
package clienttest

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// Token is the bearer token that the cluster accepts.
const Token = "token-of-the-tests" //nolint:gosec // made up

// ClusterID is the cluster's ID.
const ClusterID = "b3f0c1de-test"

// Request is what a server was asked.
type Request struct {
	Node          int
	Method, Path  string
	Query         string
	Authorization string
}

// Cluster is a fake cluster. Its fields are set before the first request; its
// methods are safe for concurrent use.
type Cluster struct {
	// Intercept may answer a request itself, and then returns true.
	Intercept func(node int, w http.ResponseWriter, r *http.Request) bool
	// Tamper may change what is answered to an allocation, inside and outside of the seal.
	Tamper func(outer *wire.Allocation, inner *wire.AllocationSecrets)
	// Info replaces the info that secrets are sealed with.
	Info func(wire.AllocationRequest) []byte
	// PendingFor is how often an allocation is answered 202 before it is granted;
	// negative means for ever.
	PendingFor int
	// Members replaces the API URLs of GET /v1/cluster.
	Members []string
	// ChangeDeposit may change what is told of a deposit.
	ChangeDeposit func(*wire.Deposit)
	// DepositEvents is what each node tells of itself, by its number.
	DepositEvents map[int]wire.DepositEvents
	// Terms are what each node has announced, by its number.
	Terms map[int]string
	// LeaseDuration is how long leases last: there are none if zero.
	LeaseDuration time.Duration
	// RestOnRelease leaves released keys resting.
	RestOnRelease bool
	// PageSize bounds pages: 1000 if zero.
	PageSize int
	// Validity is from when on, and how long, a certificate of a logical cloud is good
	// that is issued now: from a minute ago for an hour if nil.
	Validity func() (from time.Time, life time.Duration)

	tb      testing.TB
	servers []*httptest.Server
	routes  []http.Handler
	seed    *validator.Seed

	mu          sync.Mutex
	leader      int
	fence       int64
	next        uint64
	pending     map[string]int // how often a pod was told to wait
	waiting     map[string]wire.PendingAllocation
	allocations map[string]*wire.Allocation
	requests    []Request
	identity    identity
	imported    []wire.Key
	retired     map[string]wire.Key // by public key
	tokens      []wire.Token
	clouds      clouds
}

// Start starts a cluster of n nodes on loopback, of which the first leads. It is
// stopped when the test ends.
func Start(tb testing.TB, n int) *Cluster {
	tb.Helper()
	return start(tb, n, httptest.NewServer)
}

// StartTLS is Start with https; CAFile says whom to trust.
func StartTLS(tb testing.TB, n int) *Cluster {
	tb.Helper()
	return start(tb, n, httptest.NewTLSServer)
}

func start(tb testing.TB, n int, serve func(http.Handler) *httptest.Server) *Cluster {
	tb.Helper()
	seed, err := validator.SeedFromBytes(bytes.Repeat([]byte{7}, 64))
	if err != nil {
		tb.Fatalf("make the seed of the fake cluster: %v", err)
	}
	c := &Cluster{
		tb: tb, seed: seed, pending: map[string]int{}, waiting: map[string]wire.PendingAllocation{}, allocations: map[string]*wire.Allocation{}, retired: map[string]wire.Key{},
		identity: newIdentity(tb), clouds: newClouds(),
	}
	for i := range n {
		c.servers = append(c.servers, serve(c.node(i)))
	}
	tb.Cleanup(func() {
		for _, server := range c.servers {
			server.Close()
		}
	})
	return c
}

// URLs returns the base URLs of the nodes.
func (c *Cluster) URLs() []string {
	urls := make([]string, len(c.servers))
	for i, server := range c.servers {
		urls[i] = server.URL
	}
	return urls
}

// CAFile writes the certificate of a cluster with TLS to a file and returns its name.
func (c *Cluster) CAFile() string {
	c.tb.Helper()
	block := &pem.Block{Type: "CERTIFICATE", Bytes: c.servers[0].Certificate().Raw}
	return c.file("ca.pem", pem.EncodeToMemory(block))
}

// TokenFile writes the token to a file and returns its name.
func (c *Cluster) TokenFile() string {
	c.tb.Helper()
	return c.file("token", []byte(Token+"\n"))
}

func (c *Cluster) file(name string, data []byte) string {
	c.tb.Helper()
	name = filepath.Join(c.tb.TempDir(), name)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		c.tb.Fatalf("write %s: %v", name, err)
	}
	return name
}

// Lead makes a node the leader; -1 leaves the cluster without one.
func (c *Cluster) Lead(node int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader = node
}

// Serve answers a request as a node would without Intercept.
func (c *Cluster) Serve(node int, w http.ResponseWriter, r *http.Request) {
	c.routes[node].ServeHTTP(w, r)
}

// Kill stops a node, which is not started again.
func (c *Cluster) Kill(node int) {
	c.servers[node].CloseClientConnections()
	c.servers[node].Close()
}

// Requests returns what all nodes were asked, in order.
func (c *Cluster) Requests() []Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.requests)
}

// Allocation returns a copy of what a pod holds, nil if nothing.
func (c *Cluster) Allocation(namespace, pod string) *wire.Allocation {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.allocations[namespace+"/"+pod]
	if a == nil {
		return nil
	}
	held := *a
	held.Keys = slices.Clone(a.Keys)
	return &held
}

// Key returns the n-th key that the cluster hands out.
func (c *Cluster) Key(n uint64) *validator.SecretKey {
	c.tb.Helper()
	key, err := c.seed.SigningKey(n)
	if err != nil {
		c.tb.Fatalf("derive key %d: %v", n, err)
	}
	return key
}

// Problem answers with a problem.
func Problem(w http.ResponseWriter, status int, problemType, detail string) {
	w.Header().Set("X-Request-Id", "request-1")
	write(w, "application/problem+json", status, wire.Problem{
		Type: problemType, Title: http.StatusText(status), Status: status, Detail: detail, RequestID: "request-1",
	})
}

func nodeName(i int) string { return fmt.Sprintf("node-%d", i+1) }
