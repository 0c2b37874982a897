package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

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
}

// announcement asks the leader to record where a member's API is.
type announcement struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Raft string `json:"raft"`
	API  string `json:"api"`
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
	node *node.Node
	http *http.Client
}

func newPeers(n *node.Node, link *node.Link) *peers {
	return &peers{node: n, http: &http.Client{
		Timeout: peerTimeout,
		Transport: &http.Transport{
			DialContext:       func(ctx context.Context, _, address string) (net.Conn, error) { return link.Dial(ctx, address) },
			DisableKeepAlives: true,
		},
	}}
}

// serve answers the other members until the context ends.
func (p *peers) serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+identityPath, p.serveIdentity)
	mux.HandleFunc("POST "+announcePath, p.serveAnnounce)
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: peerTimeout, ReadTimeout: peerTimeout, WriteTimeout: 2 * peerTimeout,
		BaseContext: func(net.Listener) context.Context { return ctx },
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
	return nil
}

func (p *peers) serveIdentity(w http.ResponseWriter, _ *http.Request) {
	status := p.node.Status()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(Identity{
		ID: p.node.ID(), Name: p.node.Name(), ClusterID: p.node.View().Meta().GetClusterId(),
		HasState: p.node.HasState(), Applied: status.AppliedIndex,
	})
}

func (p *peers) serveAnnounce(w http.ResponseWriter, r *http.Request) {
	var a announcement
	if err := json.NewDecoder(io.LimitReader(r.Body, maxPeerBody)).Decode(&a); err != nil {
		http.Error(w, "malformed announcement", http.StatusBadRequest)
		return
	}
	if err := p.record(r.Context(), a); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

// errStranger says that somebody who is no member asked to be recorded.
var errStranger = errors.New("not a member of this cluster")

// record proposes where a member's API is. Only those who are members already
// can say so: callers' credentials are sent there.
func (p *peers) record(ctx context.Context, a announcement) error {
	for _, member := range p.node.Status().Peers {
		if member.ID != a.ID {
			continue
		}
		_, err := p.node.Propose(ctx, &fsmpb.Command{
			Caller: &fsmpb.Caller{Name: a.ID, Role: "member"},
			Body: &fsmpb.Command_SetMember{SetMember: &fsmpb.SetMember{Member: &fsmpb.Member{
				NodeId: a.ID, Name: a.Name, RaftAddress: a.Raft, ApiUrl: a.API,
			}}},
		})
		if err != nil {
			return fmt.Errorf("record member %s: %w", a.ID, err)
		}
		return nil
	}
	return fmt.Errorf("record %q: %w", a.ID, errStranger)
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
	defer resp.Body.Close() //nolint:errcheck // read to its end
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxPeerBody)).Decode(&id); err != nil {
		return id, fmt.Errorf("ask %s: %w", address, err)
	}
	return id, nil
}

// announce tells the leader at the address about a member.
func (p *peers) announce(ctx context.Context, address string, a announcement) error {
	body, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+announcePath, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, maxPeerBody))
		return fmt.Errorf("announce: %s: %s", resp.Status, bytes.TrimSpace(why))
	}
	return nil
}
