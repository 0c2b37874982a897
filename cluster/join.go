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
	"regexp"

	"github.com/keysteward/keysteward/node"
)

const joinPath = "/peer/v1/join"

// joinRequest asks to be let into a cluster.
type joinRequest struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Raft string `json:"raft"`
	// ClusterID is the cluster of the state or, without, the one that this node is on
	// its way into; empty if it knows of none.
	ClusterID string `json:"clusterId,omitempty"`
	HasState  bool   `json:"hasState,omitempty"`
	// Joining is true for a node on its way in. One with state that is not was a
	// member before.
	Joining bool `json:"joining,omitempty"`
	// FeatureLevel is the highest one that its program knows.
	FeatureLevel uint32 `json:"featureLevel,omitempty"`
}

// verdict says what becomes of the request.
type verdict string

const (
	verdictMember   verdict = "member"        // it is one already
	verdictInvited  verdict = "invited"       // ask again, for this cluster
	verdictAdded    verdict = "added"         // it is one now, and votes once it has caught up
	verdictWait     verdict = "wait"          // not now
	verdictNoLeader verdict = "no-leader"     // nobody here can decide
	verdictEmpty    verdict = "empty"         // the one that was asked knows of no cluster either
	verdictRefused  verdict = "refused"       // not like this
	verdictOther    verdict = "other-cluster" // it is of another cluster
	verdictRemoved  verdict = "removed"       // it was a member
)

// joinAnswer is the verdict with its reason, for people.
type joinAnswer struct {
	Verdict   verdict `json:"verdict"`
	Detail    string  `json:"detail,omitempty"`
	ClusterID string  `json:"clusterId,omitempty"`
	// Leader is the address of the one that can decide, if another one is known to.
	Leader string `json:"leader,omitempty"`
}

var (
	nodeID    = regexp.MustCompile(`^[A-Za-z0-9][-._A-Za-z0-9]{0,199}-[0-9a-f]{8}$`)
	clusterID = regexp.MustCompile(`^[0-9a-f]{0,64}$`)
)

// errJoin says that a request to join is not what a node sends.
var errJoin = errors.New("malformed request to join")

func (q joinRequest) check() error {
	if !nodeID.MatchString(q.ID) || node.NameOf(q.ID) != q.Name {
		return fmt.Errorf("%w: node %.100q called %.100q", errJoin, q.ID, q.Name)
	}
	if host, port, err := net.SplitHostPort(q.Raft); err != nil || host == "" || port == "" || len(q.Raft) > maxURL {
		return fmt.Errorf("%w: the address %.100q", errJoin, q.Raft)
	}
	if !clusterID.MatchString(q.ClusterID) {
		return fmt.Errorf("%w: the cluster %.100q", errJoin, q.ClusterID)
	}
	return nil
}

func (p *peers) serveJoin(w http.ResponseWriter, r *http.Request) {
	var q joinRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, maxPeerBody)).Decode(&q); err != nil {
		http.Error(w, "malformed request to join", http.StatusBadRequest)
		return
	}
	if err := q.check(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := speaksFor(r.Context(), q.Raft); err != nil {
		p.log.Warn("a request to join was refused", "node", q.ID, "address", q.Raft, "reason", err)
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	answer := p.admit(r.Context(), q)
	p.tellVerdict(q, answer)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) //nolint:errchkjson // whoever asked is gone
}

// tellVerdict logs what became of a request, once for each verdict of a node: they are
// repeated all the time.
func (p *peers) tellVerdict(q joinRequest, a joinAnswer) {
	switch a.Verdict {
	case verdictMember, verdictInvited, verdictNoLeader, verdictEmpty:
		return
	case verdictAdded, verdictWait, verdictRefused, verdictOther, verdictRemoved:
	}
	p.mu.Lock()
	said := p.verdicts[q.Name] == q.ID+string(a.Verdict)+a.Detail
	if len(p.verdicts) >= maxVerdicts {
		clear(p.verdicts)
	}
	p.verdicts[q.Name] = q.ID + string(a.Verdict) + a.Detail
	p.mu.Unlock()
	if !said {
		p.log.Info("a node asks to be let in", "node", q.ID, "address", q.Raft, "verdict", string(a.Verdict), "reason", a.Detail)
	}
}

const maxVerdicts = 64

// join asks the node at the address to let this one in.
func (p *peers) join(ctx context.Context, address string, q joinRequest) (joinAnswer, error) {
	var a joinAnswer
	body, err := json.Marshal(q)
	if err != nil {
		return a, fmt.Errorf("join: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+joinPath, bytes.NewReader(body))
	if err != nil {
		return a, fmt.Errorf("join: %w", err)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return a, fmt.Errorf("join: %w", err)
	}
	defer resp.Body.Close()
	limited := io.LimitReader(resp.Body, maxPeerBody)
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(limited)
		return a, fmt.Errorf("join: %w", refusal(fmt.Sprintf("%s: %s", resp.Status, bytes.TrimSpace(why))))
	}
	if err := json.NewDecoder(limited).Decode(&a); err != nil {
		return a, fmt.Errorf("join: %w", err)
	}
	return a, nil
}

// refusal is what another member said with a status that is not OK.
type refusal string

// Error implements error.
func (r refusal) Error() string { return string(r) }
