package cluster

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/pki"
	"github.com/keysteward/keysteward/node/pki/pkitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second // on a machine that is busy with other things too

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, patience, 5*time.Millisecond, what)
}

type openVault struct{}

func (openVault) Usable(*fsm.View) (string, bool) { return "", true }

// journal keeps what was logged.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

func (j *journal) has(text string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return bytes.Contains(j.buf.Bytes(), []byte(text))
}

// place is where a node runs: its name, address and folder, which outlive it.
type place struct {
	t       *testing.T
	name    string
	address string
	folder  string
	api     string
	terms   string
	peers   []string
	scale   Scale
	report  *Report
	journal *journal
	// security is of the members' port, nil without TLS.
	security *node.Security

	node    *node.Node
	cluster *Cluster
	link    *node.Link
	stop    context.CancelFunc
	done    chan error
}

// places reserves an address for each name.
func places(t *testing.T, names ...string) []*place {
	t.Helper()
	return placesAt(t, slices.Repeat([]string{"127.0.0.1"}, len(names)), names...)
}

// placesAt does so on a host for each.
func placesAt(t *testing.T, hosts []string, names ...string) []*place {
	t.Helper()
	var list []*place
	var peers []string
	for i, name := range names {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", hosts[i]+":0")
		require.NoError(t, err)
		p := &place{t: t, name: name, address: l.Addr().String(), folder: t.TempDir(), api: "http://" + name + ".test:80", journal: &journal{}, report: new(Report)}
		defer func() { require.NoError(t, l.Close()) }() // held until all are chosen, so that they differ
		peers = append(peers, name+"="+p.address)
		list = append(list, p)
		t.Cleanup(func() {
			if p.node != nil {
				_ = p.leave()
			}
			if t.Failed() {
				t.Logf("%s:\n%s", p.name, p.journal)
			}
		})
	}
	for _, p := range list {
		p.peers = peers
	}
	return list
}

// certificates are a member's, for these hosts.
func certificates(t *testing.T, ca *pkitest.Authority, hosts ...string) *pki.Source {
	t.Helper()
	s, err := pki.Open(pki.Config{Port: "raft", Files: ca.Write(t, t.TempDir(), hosts), Mutual: true})
	require.NoError(t, err)
	return s
}

// open starts the node, but nothing that lets it find the others.
func (p *place) open() {
	p.t.Helper()
	eventually(p.t, "listen on "+p.address, func() bool {
		var err error
		if p.security != nil {
			p.link, err = node.ListenTLS(p.t.Context(), p.address, "", *p.security)
		} else {
			p.link, err = node.Listen(p.t.Context(), p.address, "")
		}
		return err == nil
	})
	log := slog.New(slog.NewTextHandler(p.journal, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	p.node, err = node.Open(node.Config{
		Name: p.name, DataDir: p.folder, APIAdvertise: p.api, Vault: openVault{}, Logger: log,
		HeartbeatTimeout: 400 * time.Millisecond, ElectionTimeout: 400 * time.Millisecond, LeaseTimeout: 200 * time.Millisecond,
	}, p.link)
	require.NoError(p.t, err)
}

func (p *place) config() Config {
	p.t.Helper()
	founders, err := ParsePeers(p.peers)
	require.NoError(p.t, err)
	return Config{
		Node: p.node, Link: p.link, API: p.api, Terms: p.terms, Founders: founders, Scale: p.scale, Report: p.report,
		Logger: slog.New(slog.NewTextHandler(p.journal, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

func (p *place) up() {
	p.t.Helper()
	p.open()
	p.start()
}

// start lets a node that is open find the others.
func (p *place) start() {
	p.t.Helper()
	p.node.Start()
	p.cluster = New(p.config())
	ctx, stop := context.WithCancel(context.Background())
	p.stop, p.done = stop, make(chan error, 1)
	go func() { p.done <- p.cluster.Run(ctx) }()
}

// rest has a node that goes on look after nobody and answer no other's questions.
func (p *place) rest() {
	p.t.Helper()
	p.stop()
	require.NoError(p.t, <-p.done)
	p.stop = nil
}

func (p *place) leave() error {
	var err error
	if p.stop != nil {
		p.stop()
		err = <-p.done
	}
	if e := p.node.Close(); err == nil {
		err = e
	}
	p.node, p.stop = nil, nil
	return err
}

func (p *place) down() {
	p.t.Helper()
	require.NoError(p.t, p.leave())
}

// leader waits for the one that leads among these.
func leader(t *testing.T, list ...*place) *place {
	t.Helper()
	var found *place
	eventually(t, "no leader", func() bool {
		for _, p := range list {
			if p.node != nil && p.node.Status().IsLeader {
				found = p
				return true
			}
		}
		return false
	})
	return found
}
