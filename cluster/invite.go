package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

const invitePath = "/peer/v1/invite"

// invitation is how a leader tells a node, by an operator's word, that it may be a
// member. The node writes down where it belongs before it is added, as it would if it
// had asked by itself.
type invitation struct {
	ClusterID string `json:"clusterId"`
	// Leader is the address of who invites.
	Leader string `json:"leader"`
}

func (p *peers) serveInvitation(w http.ResponseWriter, r *http.Request) {
	var i invitation
	if err := json.NewDecoder(io.LimitReader(r.Body, maxPeerBody)).Decode(&i); err != nil || i.ClusterID == "" || !clusterID.MatchString(i.ClusterID) {
		http.Error(w, "malformed invitation", http.StatusBadRequest)
		return
	}
	if err := speaksFor(r.Context(), i.Leader); err != nil {
		p.log.Warn("an invitation was refused", "leader", i.Leader, "reason", err)
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	if why := p.declines(i); why != "" {
		http.Error(w, why, http.StatusConflict)
		return
	}
	if err := p.node.Join(i.ClusterID); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	p.log.Info("this node was invited into a cluster", "cluster", i.ClusterID, "leader", i.Leader)
	w.WriteHeader(http.StatusNoContent)
}

// declines says why this node does not take an invitation.
func (p *peers) declines(i invitation) string {
	switch own := p.node.ClusterID(); {
	case own == i.ClusterID && (p.node.Joining() || !p.node.HasState()):
		return ""
	case p.node.HasState():
		return fmt.Sprintf("%s has data of cluster %s", p.node.ID(), own)
	case p.isFounder():
		return p.node.ID() + " is one of the founders in its --peers, and asks by itself"
	case own != "":
		return fmt.Sprintf("%s is on its way into cluster %s", p.node.ID(), own)
	}
	return ""
}

// invite tells the node at the address that it may be a member.
func (p *peers) invite(ctx context.Context, address, cluster string) error {
	body, err := json.Marshal(invitation{ClusterID: cluster, Leader: p.address})
	if err != nil {
		return fmt.Errorf("invite: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+invitePath, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("invite: %w", err)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return fmt.Errorf("invite: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, maxPeerBody))
		return fmt.Errorf("invite: %w", refusal(fmt.Sprintf("%s: %s", resp.Status, bytes.TrimSpace(why))))
	}
	return nil
}
