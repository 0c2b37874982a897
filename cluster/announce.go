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
	"net/url"
	"regexp"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node"
)

// announcement asks the leader to record where a member's API is, and what it
// would pay for.
type announcement struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Raft string `json:"raft"`
	API  string `json:"api"`
	// Terms of its deposits, empty if it makes none.
	Terms string `json:"terms,omitempty"`
	// Keys are the IDs of its key-encryption keys, with the public parts that there are.
	Keys []announcedKey `json:"keys,omitempty"`
}

type announcedKey struct {
	ID     string `json:"id"`
	Public []byte `json:"public,omitempty"`
}

// proto is what is recorded of the member.
func (a announcement) proto() *fsmpb.Member {
	m := &fsmpb.Member{NodeId: a.ID, Name: a.Name, RaftAddress: a.Raft, ApiUrl: a.API, Terms: a.Terms}
	for _, k := range a.Keys {
		m.Keys = append(m.Keys, &fsmpb.KeyEncryptionKey{Id: k.ID, Public: k.Public})
	}
	return m
}

// announceAlways sees to it that the state says where this node's API is, and
// what it would pay for.
func announceAlways(ctx context.Context, cfg Config, p *peers) error {
	self := announcement{ID: cfg.Node.ID(), Name: cfg.Node.Name(), Raft: cfg.Link.Advertised(), API: cfg.API, Terms: cfg.Terms}
	if err := self.check(); err != nil {
		return err
	}
	for {
		self.Keys = nil
		for _, k := range cfg.keys() {
			self.Keys = append(self.Keys, announcedKey{ID: k.GetId(), Public: k.GetPublic()})
		}
		if !proto.Equal(cfg.Node.View().Member(self.ID), self.proto()) {
			if err := announceOnce(ctx, cfg.Node, p, self); err != nil {
				cfg.Logger.Debug("the leader does not know this node's API yet", "error", err)
			}
		}
		if err := pause(ctx, announceInterval); err != nil {
			return err
		}
	}
}

func announceOnce(ctx context.Context, n *node.Node, p *peers, self announcement) error {
	status := n.Status()
	if status.LeaderID == self.ID {
		return p.record(ctx, self)
	}
	for _, peer := range status.Peers {
		if peer.ID == status.LeaderID {
			return p.announce(ctx, peer.Raft, self)
		}
	}
	return node.ErrNotLeader
}

func (p *peers) serveAnnounce(w http.ResponseWriter, r *http.Request) {
	var a announcement
	if err := json.NewDecoder(io.LimitReader(r.Body, maxPeerBody)).Decode(&a); err != nil {
		http.Error(w, "malformed announcement", http.StatusBadRequest)
		return
	}
	err := p.authentic(r.Context(), a)
	if err == nil {
		err = p.record(r.Context(), a)
	}
	switch {
	case err == nil:
	case errors.Is(err, errStranger), errors.Is(err, node.ErrNotMember):
		http.Error(w, err.Error(), http.StatusForbidden)
	case errors.Is(err, errAnnouncement):
		http.Error(w, err.Error(), http.StatusBadRequest)
	default:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

var (
	// errStranger says that somebody who is no member asked to be recorded.
	errStranger = errors.New("not a member of this cluster")
	// errAnnouncement says that an announcement is not what a member sends.
	errAnnouncement = errors.New("malformed announcement")
)

// Bounds on what is announced, in bytes and numbers.
const maxURL, maxTerms, maxKeys, maxPublic = 2048, 1024, 16, 1024

var keyID = regexp.MustCompile(`^[a-z]{1,16}:[0-9a-f]{8,64}$`)

// check sees to it that what ends up in callers' Location headers is a URL, and
// what ends up in people's terminals one line of text.
func (a announcement) check() error {
	u, err := url.Parse(a.API)
	if err != nil || len(a.API) > maxURL || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return fmt.Errorf("%w: the API's URL %.100q", errAnnouncement, a.API)
	}
	if !strings.HasPrefix(a.ID, a.Name+"-") {
		return fmt.Errorf("%w: node %.100q is not called %.100q", errAnnouncement, a.ID, a.Name)
	}
	if len(a.Terms) > maxTerms || strings.ContainsFunc(a.Terms, func(r rune) bool { return r < ' ' || r > '~' }) {
		return fmt.Errorf("%w: the terms of deposits %.100q", errAnnouncement, a.Terms)
	}
	if _, _, err := net.SplitHostPort(a.Raft); err != nil {
		return fmt.Errorf("%w: the member's address %.100q", errAnnouncement, a.Raft)
	}
	return a.checkKeys()
}

func (a announcement) checkKeys() error {
	if len(a.Keys) > maxKeys {
		return fmt.Errorf("%w: %d key-encryption keys", errAnnouncement, len(a.Keys))
	}
	for _, k := range a.Keys {
		if !keyID.MatchString(k.ID) || len(k.Public) > maxPublic {
			return fmt.Errorf("%w: the key-encryption key %.100q with %d bytes", errAnnouncement, k.ID, len(k.Public))
		}
	}
	return nil
}

// authentic sees to it that a member announces for itself alone: its certificate is
// for the host at which the cluster knows that member, and for the one it tells.
func (p *peers) authentic(ctx context.Context, a announcement) error {
	if err := a.check(); err != nil {
		return err
	}
	for _, member := range p.node.Status().Peers {
		if member.ID != a.ID {
			continue
		}
		for _, address := range []string{member.Raft, a.Raft} {
			if err := speaksFor(ctx, address); err != nil {
				p.log.Warn("an announcement was refused", "announced", a.ID, "reason", err)
				return fmt.Errorf("announce %s: %w", a.ID, err)
			}
		}
		return nil
	}
	return fmt.Errorf("announce %.100q: %w", a.ID, errStranger)
}

// record proposes where a member's API is. Only those who are members already
// can say so: callers' credentials are sent there.
func (p *peers) record(ctx context.Context, a announcement) error {
	if err := a.check(); err != nil {
		return err
	}
	for _, member := range p.node.Status().Peers {
		if member.ID != a.ID {
			continue
		}
		_, err := p.node.Propose(ctx, &fsmpb.Command{
			Caller: &fsmpb.Caller{Name: a.ID, Role: "member"},
			Body:   &fsmpb.Command_SetMember{SetMember: &fsmpb.SetMember{Member: a.proto()}},
		})
		if err != nil {
			return fmt.Errorf("record member %s: %w", a.ID, err)
		}
		return nil
	}
	return fmt.Errorf("record %q: %w", a.ID, errStranger)
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
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, maxPeerBody))
		return fmt.Errorf("announce: %s: %s", resp.Status, bytes.TrimSpace(why))
	}
	return nil
}
