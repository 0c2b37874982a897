package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/keysteward/keysteward/api/wire"
)

const (
	pathMembers  = pathCluster + "/members"
	pathTransfer = pathCluster + "/transfer"
)

// Types of problems about the members of the cluster. Nothing was changed.
const (
	// TypeQuorumAtRisk: those who would remain and answer are no majority.
	TypeQuorumAtRisk = "quorum-at-risk"
	// TypeLessTolerant: fewer voters could be lost afterwards; force does it all the same.
	TypeLessTolerant = "less-tolerant"
	// TypeNotLetIn: the node can not be a member as it is.
	TypeNotLetIn = "not-let-in"
	// TypeNotCaughtUp: the member can not vote yet.
	TypeNotCaughtUp = "not-caught-up"
	// TypeCanNotLead: no other voter takes the leadership, or not the one that was named.
	TypeCanNotLead = "can-not-lead"
)

// AddMember lets the node in that answers to the other members at this address
// (host:port). It votes by itself once it has caught up.
func (c *Client) AddMember(ctx context.Context, raft string) (wire.Member, error) {
	body, err := encode(wire.MemberAddress{Raft: raft})
	if err != nil {
		return wire.Member{}, err
	}
	m, err := get[wire.Member](ctx, c, call{method: http.MethodPost, path: pathMembers, body: body})
	if err != nil {
		return m, fmt.Errorf("let %s in: %w", raft, err)
	}
	return m, nil
}

// RemoveMember takes a member out, by its ID. A Problem of type not-found says that
// there is none, or no longer.
func (c *Client) RemoveMember(ctx context.Context, id string, force bool) error {
	q := call{method: http.MethodDelete, path: pathMembers + "/" + url.PathEscape(id)}
	if force {
		q.query = url.Values{"force": {strconv.FormatBool(true)}}
	}
	r, err := c.do(ctx, q)
	if r.uncertain && IsType(err, TypeNotFound) { // an earlier try was carried out
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", id, err)
	}
	return nil
}

// PromoteMember lets a member vote that has caught up, by its ID.
func (c *Client) PromoteMember(ctx context.Context, id string) error {
	if _, err := c.do(ctx, call{method: http.MethodPost, path: pathMembers + "/" + url.PathEscape(id) + "/promote"}); err != nil {
		return fmt.Errorf("promote %s: %w", id, err)
	}
	return nil
}

// Transfer has the leader hand over to a member, by its ID, or to any that can lead if
// that is empty, and returns the ID of who leads then; empty if nobody did yet. Without
// a name it is asked once only: repeated it would hand over again.
func (c *Client) Transfer(ctx context.Context, to string) (leader string, err error) {
	body, err := encode(wire.Transfer{To: to})
	if err != nil {
		return "", err
	}
	done, err := get[wire.Transferred](ctx, c, call{method: http.MethodPost, path: pathTransfer, body: body, once: to == ""})
	if err != nil {
		return "", fmt.Errorf("transfer leadership: %w", err)
	}
	return done.Leader, nil
}
