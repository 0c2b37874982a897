package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
)

// Identity is what a node tells the other members about itself.
type Identity struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	ClusterID string `json:"clusterId"`
	// HasState is true once the node is, or ever was, part of a cluster.
	HasState bool   `json:"hasState"`
	Applied  uint64 `json:"applied"`
	// Joining is true for a node that is on its way into the cluster.
	Joining bool `json:"joining,omitempty"`
	// Sealed is true while the node can open no secrets: it could not lead.
	Sealed bool `json:"sealed,omitempty"`
	// LowDisk is true while it has less free disk space than it should: it should not lead.
	LowDisk bool `json:"lowDisk,omitempty"`
	// Unfit is true while it should not lead for another reason: nobody could connect to it.
	Unfit bool `json:"unfit,omitempty"`
	// FeatureLevel is the highest one that its program knows.
	FeatureLevel uint32 `json:"featureLevel,omitempty"`
	// Mark is the last checkpoint that it applied, and what its running hash was there.
	Mark *fsmpb.Mark `json:"mark,omitempty"`
	// Founders is the list of those with whom the node was told to found a cluster.
	Founders string `json:"founders"`
}

const (
	identityPath    = "/peer/v1/identity"
	announcePath    = "/peer/v1/announce"
	peerTimeout     = 3 * time.Second
	maxPeerBody     = 64 << 10
	shutdownTimeout = 2 * time.Second
)

// peers speaks the protocol between members: HTTP on the members' own port.
type peers struct {
	node     *node.Node
	address  string // of this node
	founders []Peer
	pattern  Pattern
	scale    Scale // nil if nobody says
	report   *Report
	http     *http.Client
	log      *slog.Logger

	mu       sync.Mutex
	verdicts map[string]string // name → what the log was told of it last
}

func newPeers(cfg Config) *peers {
	p := &peers{
		node: cfg.Node, address: cfg.Link.Advertised(), founders: cfg.Founders, pattern: PatternOf(cfg.Founders),
		scale: cfg.Scale, report: cfg.Report, log: cfg.Logger, verdicts: make(map[string]string),
	}
	if p.report == nil {
		p.report = new(Report)
	}
	p.http = &http.Client{
		Timeout:       peerTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				return cfg.Link.Dial(ctx, address) //nolint:wrapcheck // says what it is
			},
			DisableKeepAlives: true,
		},
	}
	return p
}

// connKey is where a request's context has its connection.
type connKey struct{}

// speaksFor tells whether a request comes from the member at this address.
func speaksFor(ctx context.Context, address string) error {
	conn, ok := ctx.Value(connKey{}).(net.Conn)
	if !ok {
		return node.ErrNotMember
	}
	return node.SpeaksFor(conn, address) //nolint:wrapcheck // says what it is
}

// serve answers the other members until the context ends.
func (p *peers) serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+identityPath, p.serveIdentity)
	mux.HandleFunc("POST "+announcePath, p.serveAnnounce)
	mux.HandleFunc("POST "+joinPath, p.serveJoin)
	mux.HandleFunc("POST "+invitePath, p.serveInvitation)
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: peerTimeout, ReadTimeout: peerTimeout, WriteTimeout: 2 * peerTimeout,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve members: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(stop); err != nil {
		_ = server.Close()
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve members: %w", err)
	}
	return nil
}

func (p *peers) serveIdentity(w http.ResponseWriter, _ *http.Request) {
	status := p.node.Status()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(Identity{ //nolint:errchkjson // whoever asked is gone
		ID: p.node.ID(), Name: p.node.Name(), ClusterID: p.node.ClusterID(),
		HasState: p.node.HasState(), Joining: p.node.Joining(), Applied: status.AppliedIndex, Sealed: status.Sealed, LowDisk: status.LowDisk, Unfit: status.Unfit,
		FeatureLevel: fsm.FeatureLevel, Mark: markOf(p.node),
		Founders: describe(p.founders),
	})
}

// identity asks the node at the address who it is.
func (p *peers) identity(ctx context.Context, address string) (Identity, error) {
	var id Identity
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+identityPath, nil)
	if err != nil {
		return id, fmt.Errorf("ask %s: %w", address, err)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return id, fmt.Errorf("ask %s: %w", address, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return id, fmt.Errorf("ask %s: %s", address, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxPeerBody)).Decode(&id); err != nil {
		return id, fmt.Errorf("ask %s: %w", address, err)
	}
	return id, nil
}
