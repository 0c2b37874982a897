package beacon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// nextBatch returns the first keys from a public key on for which a stake was or
// is being paid, and whose validator may still change.
func nextBatch(view *fsm.View, from []byte, most int) []*fsmpb.Key {
	var keys []*fsmpb.Key
	for k := range view.Keys(from) {
		if len(keys) == most {
			break
		}
		if mayChange(k) {
			keys = append(keys, k)
		}
	}
	return keys
}

func mayChange(k *fsmpb.Key) bool {
	unpaid := k.GetState() == fsmpb.KeyState_KEY_STATE_GENERATED
	gone := k.GetState() == fsmpb.KeyState_KEY_STATE_RETIRED && k.GetValidatorStatus() == "withdrawal_done"
	return !unpaid && !gone
}

func ids(keys []*fsmpb.Key) []string {
	list := make([]string, len(keys))
	for i, k := range keys {
		list[i] = validator.PublicKey(k.GetPubkey()).String()
	}
	return list
}

// look asks for one batch, keeps what is new, and retires what is surely over.
func (d *Duty) look(ctx context.Context, s Session, keys []*fsmpb.Key) error {
	head, err := d.ask(ctx, stateHead, keys)
	if err != nil {
		return err
	}
	if err := d.keep(ctx, s, keys, head); err != nil {
		return err
	}
	over := candidates(keys, head.of)
	if len(over) == 0 {
		return nil
	}
	if !head.final {
		if head, err = d.ask(ctx, stateFinalized, over); err != nil {
			return err
		}
	}
	if !head.final {
		return fmt.Errorf("%w: %d keys are not retired yet", errNotFinal, len(over))
	}
	return d.retire(ctx, s, over, head.of)
}

var errNotFinal = errors.New("the beacon node does not call its finalized state final")

// candidates are the keys in use whose validators seem to be over.
func candidates(keys []*fsmpb.Key, of map[validator.PublicKey]seen) []*fsmpb.Key {
	return slices.DeleteFunc(slices.Clone(keys), func(k *fsmpb.Key) bool {
		v, found := of[validator.PublicKey(k.GetPubkey())]
		return !found || v.reason() == "" || k.GetState() == fsmpb.KeyState_KEY_STATE_RETIRED
	})
}

// keep proposes what the state does not know yet. A validator that the chain does
// not know any more loses its status.
func (d *Duty) keep(ctx context.Context, s Session, keys []*fsmpb.Key, a answer) error {
	c := &fsmpb.ObserveValidators{}
	for _, k := range keys {
		news := &fsmpb.Validator{Pubkey: k.GetPubkey()}
		switch v, found := a.of[validator.PublicKey(k.GetPubkey())]; {
		case found:
			news = v.record(k.GetPubkey())
			d.metrics.count(v.Status)
		case a.doubtful[validator.PublicKey(k.GetPubkey())]:
			continue
		}
		if isNews(k, news) {
			c.Validators = append(c.Validators, news)
		}
	}
	if len(c.GetValidators()) == 0 {
		return nil
	}
	return d.propose(ctx, s, &fsmpb.Command{Body: &fsmpb.Command_ObserveValidators{ObserveValidators: c}})
}

// retire proposes the end of keys by what a final answer says, all that ended in
// the same way at once.
func (d *Duty) retire(ctx context.Context, s Session, keys []*fsmpb.Key, of map[validator.PublicKey]seen) error {
	type ending struct{ reason, status string }
	var order []ending
	ended := make(map[ending][][]byte)
	for _, k := range candidates(keys, of) {
		v := of[validator.PublicKey(k.GetPubkey())]
		e := ending{v.reason(), v.Status}
		if ended[e] == nil {
			order = append(order, e)
		}
		ended[e] = append(ended[e], k.GetPubkey())
		d.log.Warn("a validator is over, its key is retired", "pubkey", validator.PublicKey(k.GetPubkey()).String(),
			"reason", e.reason, "status", e.status, "index", uint64(*v.Index), "was", k.GetState().String())
	}
	for _, e := range order {
		if err := d.propose(ctx, s, &fsmpb.Command{Body: &fsmpb.Command_RetireKeys{RetireKeys: &fsmpb.RetireKeys{
			Pubkeys: ended[e], Reason: e.reason, Detail: e.status + " in the finalized state of the beacon chain",
		}}}); err != nil {
			return err
		}
	}
	return nil
}

// errCluster is trouble on this side.
var errCluster = errors.New("the cluster could not be told what the beacon chain says")

// sessionError is a proposal of which it is not known that it was done or refused.
type sessionError struct{ error }

func (e sessionError) Unwrap() error { return e.error }

// endsSession reports whether nothing more can be proposed for now.
func endsSession(err error) bool { return errors.As(err, new(sessionError)) }

func (d *Duty) propose(ctx context.Context, s Session, c *fsmpb.Command) error {
	c.Caller = &fsmpb.Caller{Name: "exits", Role: "duty"}
	_, err := s.Propose(ctx, c)
	if err == nil {
		return nil
	}
	if refusal := (*fsm.Refusal)(nil); errors.As(err, &refusal) && refusal.Code != fsm.StaleSession {
		return fmt.Errorf("%w: it refused: %w", errCluster, err)
	}
	return sessionError{fmt.Errorf("%w: %w", errCluster, err)}
}

// behind is the place in the order of public keys right behind one.
func behind(pubkey []byte) []byte { return append(bytes.Clone(pubkey), 0) }
