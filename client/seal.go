package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/keysteward/keysteward/api/wire"
)

const pathSeal = "/v1/seal"

// Types of problems about the keys that open the secrets.
const (
	// TypeLastKey: no key would be left.
	TypeLastKey = "last-key"
	// TypeMembersStranded: members would be left without a key; force does it all the same.
	TypeMembersStranded = "members-stranded"
	// TypeKeyRemoved: the key was removed before; force adds it all the same.
	TypeKeyRemoved = "key-removed"
	// TypeKeyNotHere: the leader can not wrap for a key.
	TypeKeyNotHere = "key-not-here"
)

// RotateSeal has the cluster seal under a new data key from now on.
func (c *Client) RotateSeal(ctx context.Context) error {
	return c.changeSeal(ctx, call{method: http.MethodPost, path: pathSeal + "/rotate"})
}

// AddSealKey lets one more key-encryption key open the secrets. The ID is the
// caller's word that he compared it on the machine that has the key.
// A Problem of type TypeKeyRemoved says that it was removed before and needs force.
func (c *Client) AddSealKey(ctx context.Context, id string, force bool) error {
	body, err := encode(wire.SealKeyID{ID: id, Force: force})
	if err != nil {
		return err
	}
	return c.changeSeal(ctx, call{method: http.MethodPost, path: pathSeal + "/keys", body: body})
}

// RemoveSealKey lets a key-encryption key open nothing more that is sealed from
// now on. A Problem of type TypeMembersStranded says that it needs force.
func (c *Client) RemoveSealKey(ctx context.Context, id string, force bool) error {
	q := call{method: http.MethodDelete, path: pathSeal + "/keys/" + url.PathEscape(id)}
	if force {
		q.query = url.Values{"force": {strconv.FormatBool(true)}}
	}
	r, err := c.do(ctx, q)
	if r.uncertain && IsType(err, TypeNotFound) { // an earlier try was carried out
		return nil
	}
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	return nil
}

func (c *Client) changeSeal(ctx context.Context, q call) error {
	if _, err := c.do(ctx, q); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	return nil
}

// NodeSeal is what one member says about its own seal.
type NodeSeal struct {
	// Node is its ID.
	Node string
	// Seal is what it answered to Seal, Verified what it answered to VerifySeal.
	Seal     wire.Seal
	Verified []wire.SealVerified
	// Err says why it did not answer.
	Err error
}

// Seal asks every member whether it is sealed, and for its view of the keyring.
// The error is about who the members are; that one of them did not answer stands
// beside its name.
func (c *Client) Seal(ctx context.Context) ([]NodeSeal, error) {
	return eachMember(ctx, c, func(ctx context.Context, member *url.URL, of *NodeSeal) (err error) {
		of.Seal, err = askThis[wire.Seal](ctx, c, member, call{method: http.MethodGet, path: pathSeal})
		return err
	})
}

// VerifySeal has every member try each of its key-encryption keys, as after a restart.
func (c *Client) VerifySeal(ctx context.Context) ([]NodeSeal, error) {
	return eachMember(ctx, c, func(ctx context.Context, member *url.URL, of *NodeSeal) error {
		v, err := askThis[wire.SealVerification](ctx, c, member, call{method: http.MethodPost, path: pathSeal + "/verify"})
		of.Verified = v.Keys
		return err
	})
}

// errNotTold says that a member's URL is not known, or not one to be asked.
var errNotTold = errors.New("its API's URL is not known, or not one that credentials may be sent to")

func eachMember(ctx context.Context, c *Client, do func(context.Context, *url.URL, *NodeSeal) error) ([]NodeSeal, error) {
	cluster, err := c.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]NodeSeal, len(cluster.Nodes))
	for i, n := range cluster.Nodes {
		list[i] = NodeSeal{Node: n.ID, Err: errNotTold}
		if member := c.urlOf(n); member != nil {
			list[i].Err = do(ctx, member, &list[i])
		}
	}
	return list, nil
}

// urlOf returns the base URL of a member, nil if it is none of those who may be asked.
func (c *Client) urlOf(n wire.Node) *url.URL {
	if n.API == "" {
		return nil
	}
	at, err := parseServer(n.API)
	if err != nil {
		return nil
	}
	return c.member(origin(at))
}

// askThis asks this very member, and follows it nowhere.
func askThis[T any](ctx context.Context, c *Client, member *url.URL, q call) (T, error) {
	var none T
	r, err := c.send(ctx, sentTo(member, q), q)
	if err != nil {
		return none, err
	}
	if r.status != http.StatusOK {
		return none, decodeProblem(r)
	}
	return decode[T](r)
}
