package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/node"
	"github.com/keysteward/keysteward/node/seal"
)

// sealTimeout bounds a change of the keyring: key-encryption keys may be far away.
const sealTimeout = 30 * time.Second

// getSeal tells what this node's state says about the keyring.
func (s *Server) getSeal(c *call) (answer, error) {
	view := c.reading.view
	reason, isSealed := s.vault.Sealed()
	st := view.Meta().GetSeal()
	w := wire.Seal{
		Node: s.node.Status().NodeID, Sealed: isSealed, Reason: reason,
		Revision: signed(st.GetRevision()), CurrentTerm: int64(st.GetCurrentTerm()),
		Keys: sealKeys(view), Terms: make([]wire.SealTerm, 0, len(st.GetTerms())),
	}
	if wall := st.GetSinceWallMs(); wall != 0 {
		w.Since = time.UnixMilli(wall).UTC()
	}
	seed := view.Secret(fsm.SecretSeed).GetSealed()
	for _, t := range st.GetTerms() {
		one := wire.SealTerm{Term: int64(t.GetTerm()), Records: signed(t.GetRecords()), ImportedKeys: signed(t.GetRecords()), Uses: signed(t.GetUses())}
		if one.Seed = seed != nil && fsm.SealedTerm(seed) == t.GetTerm(); one.Seed {
			one.ImportedKeys--
		}
		w.Terms = append(w.Terms, one)
	}
	return ok(w), nil
}

// sealKeys are the keys that wrap the root key and those that members were given.
func sealKeys(view *fsm.View) []wire.SealKey {
	byID := make(map[string]*wire.SealKey)
	get := func(id string) *wire.SealKey {
		if byID[id] == nil {
			byID[id] = &wire.SealKey{ID: id, Kind: seal.Identity{ID: id}.Kind(), Nodes: []string{}}
		}
		return byID[id]
	}
	for _, k := range seal.Wrapping(view) {
		get(k.ID).Wraps, get(k.ID).Version = true, k.Version
	}
	for m := range view.Members() {
		for _, k := range m.GetKeys() {
			get(k.GetId()).Nodes = append(get(k.GetId()).Nodes, m.GetNodeId())
		}
	}
	for _, id := range seal.Removed(view) {
		if byID[id] != nil && !byID[id].Wraps {
			byID[id].Removed = true
		}
	}
	list := make([]wire.SealKey, 0, len(byID))
	for _, k := range byID {
		list = append(list, *k)
	}
	slices.SortFunc(list, func(a, b wire.SealKey) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// verifySeal has this node try its key-encryption keys.
func (s *Server) verifySeal(c *call) (answer, error) {
	ctx, cancel := context.WithTimeout(c.ctx(), sealTimeout)
	defer cancel()
	results, err := s.cfg.Seal.Verify(ctx, c.reading.view)
	if err != nil {
		return answer{}, sealProblem(err)
	}
	w := wire.SealVerification{Node: s.node.Status().NodeID, Keys: make([]wire.SealVerified, len(results))}
	for i, r := range results {
		w.Keys[i] = wire.SealVerified{ID: r.ID, Ok: r.Err == nil}
		if r.Err != nil {
			w.Keys[i].Detail = r.Err.Error()
		}
	}
	return ok(w), nil
}

func (s *Server) rotateSeal(c *call) (answer, error) {
	return s.changeSeal(c, func(ctx context.Context, ask seal.Asker) error { return s.cfg.Seal.Rotate(ctx, s.node, ask) })
}

func (s *Server) addSealKey(c *call, body wire.SealKeyID) (answer, error) {
	if body.ID == "" {
		return answer{}, badField("id", "is required")
	}
	return s.changeSeal(c, func(ctx context.Context, ask seal.Asker) error {
		return s.cfg.Seal.Add(ctx, s.node, ask, body.ID, body.Force)
	})
}

func (s *Server) removeSealKey(c *call) (answer, error) {
	force, err := c.flag("force")
	if err != nil {
		return answer{}, err
	}
	return s.changeSeal(c, func(ctx context.Context, ask seal.Asker) error {
		return s.cfg.Seal.Remove(ctx, s.node, ask, c.echo.Param("id"), force)
	})
}

func (s *Server) changeSeal(c *call, change func(context.Context, seal.Asker) error) (answer, error) {
	ctx, cancel := context.WithTimeout(c.ctx(), sealTimeout)
	defer cancel()
	cmd := c.command()
	if err := change(ctx, seal.Asker{Caller: cmd.GetCaller(), RequestID: cmd.GetRequestId()}); err != nil {
		// What the keyring refuses never comes before the state machine, which would have it on record.
		s.log.Warn("a change of the keyring was not made", "caller", c.caller.Name, "remote", c.caller.Remote,
			"route", routeOf(c.echo).path, "request_id", requestID(c.echo), "reason", err)
		return answer{}, sealProblem(err)
	}
	return answer{status: http.StatusNoContent}, nil
}

// sealProblem says why the keyring was not changed, in the words of the keyring:
// they name keys and members, and hold nothing secret.
func sealProblem(err error) error {
	switch {
	case errors.Is(err, seal.ErrUnknownKey):
		return newProblem(notFound, "%v", err)
	case errors.Is(err, seal.ErrRemoved):
		return newProblem(keyRemoved, "%v; if it did not leak, add it by force", err)
	case errors.Is(err, seal.ErrLastKey):
		return newProblem(lastKey, "%v", err)
	case errors.Is(err, seal.ErrStranded):
		return newProblem(membersStranded, "%v; give them another key and add it first, or say force=true", err)
	case errors.Is(err, seal.ErrCannotWrap):
		return newProblem(keyNotHere, "%v", err)
	case errors.Is(err, node.ErrSealed), errors.Is(err, seal.ErrKEK):
		p := newProblem(sealed, "%v", err)
		p.retry = 5 * time.Second
		return p
	}
	return err
}
