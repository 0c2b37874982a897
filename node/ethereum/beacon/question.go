package beacon

import (
	"context"
	"errors"
	"fmt"

	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// answer is what the beacon node said of the keys that it was asked for.
type answer struct {
	final bool
	// of are the validators that it knows.
	of map[validator.PublicKey]seen
	// doubtful are the keys of which it said nothing that can be used: nothing
	// follows from their absence in of.
	doubtful map[validator.PublicKey]bool
}

// mostQuestions bounds what is asked because of one batch: enough to find half a
// dozen bad keys among 500.
const mostQuestions = 64

var errRefused = errors.New("the beacon node refuses more of the keys than can be bad")

// question is one batch on its way to the beacon node, whole or in parts.
type question struct {
	duty   *Duty
	state  string
	left   int // questions
	answer answer
}

// ask asks for the validators of keys. Keys that the beacon node refuses, and
// validators that can not be read, are logged and doubtful. The error says that
// nothing is known of any of the keys.
func (d *Duty) ask(ctx context.Context, state string, keys []*fsmpb.Key) (answer, error) {
	q := &question{duty: d, state: state, left: mostQuestions, answer: answer{
		final: true, of: make(map[validator.PublicKey]seen, len(keys)), doubtful: make(map[validator.PublicKey]bool),
	}}
	if err := q.put(ctx, keys); err != nil {
		return answer{}, err
	}
	return q.answer, nil
}

// put asks for keys, and for both halves of them if they are refused.
func (q *question) put(ctx context.Context, keys []*fsmpb.Key) error {
	if q.left == 0 {
		return errRefused
	}
	q.left--
	a, err := q.duty.client.validators(ctx, q.state, ids(keys))
	switch {
	case err == nil:
		return q.take(keys, a)
	case !refusesKeys(err):
		return err
	case len(keys) == 1:
		pubkey := validator.PublicKey(keys[0].GetPubkey())
		q.answer.doubtful[pubkey] = true
		q.duty.complain("the beacon node refuses a key, which is left out", fmt.Errorf("%s: %w", pubkey, err))
		return nil
	}
	half := len(keys) / 2
	if err := q.put(ctx, keys[:half]); err != nil {
		return err
	}
	return q.put(ctx, keys[half:])
}

// take reads an answer, validator by validator.
func (q *question) take(keys []*fsmpb.Key, a validatorsAnswer) error {
	if a.isOptimistic() {
		return fmt.Errorf("%w: its answer is optimistic, or does not tell", errSyncing)
	}
	q.answer.final = q.answer.final && a.isFinal()
	asked := make(map[validator.PublicKey]bool, len(keys))
	for _, k := range keys {
		asked[validator.PublicKey(k.GetPubkey())] = true
	}
	unread := 0
	for _, raw := range a.Data {
		pubkey, v, err := parseSeen(raw)
		_, twice := q.answer.of[pubkey]
		switch {
		case err == nil && !asked[pubkey]:
			continue // nobody asked
		case err == nil && !twice && !q.answer.doubtful[pubkey]:
			q.answer.of[pubkey] = v
			continue
		case err == nil:
			err = fmt.Errorf("validator %s is in the answer twice", pubkey)
		}
		delete(q.answer.of, pubkey)
		q.duty.complain("the beacon node says something that is left out", err)
		if q.answer.doubtful[pubkey] = true; !asked[pubkey] {
			unread++
		}
	}
	if unread > 0 { // it may have been about any of them
		for pubkey := range asked {
			if _, found := q.answer.of[pubkey]; !found {
				q.answer.doubtful[pubkey] = true
			}
		}
	}
	return nil
}
