package beacon

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// number is an unsigned integer, which the Beacon API writes as a text. A plain
// one is taken too: older servers write chain IDs so.
type number uint64

// UnmarshalJSON implements json.Unmarshaler.
func (n *number) UnmarshalJSON(data []byte) error {
	text := string(data)
	if len(text) >= 2 && text[0] == '"' && text[len(text)-1] == '"' {
		text = text[1 : len(text)-1]
	}
	value, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return fmt.Errorf("%.40q is no unsigned integer", text)
	}
	*n = number(value)
	return nil
}

// farFuture is the epoch of what is not going to happen (FAR_FUTURE_EPOCH).
const farFuture number = math.MaxUint64

// validatorsAnswer is the answer to postStateValidators. Whether it is optimistic
// or final has to be said: silence proves nothing.
type validatorsAnswer struct {
	Optimistic *bool             `json:"execution_optimistic"`
	Finalized  *bool             `json:"finalized"`
	Data       []json.RawMessage `json:"data"`
}

func (a validatorsAnswer) isOptimistic() bool { return a.Optimistic == nil || *a.Optimistic }

func (a validatorsAnswer) isFinal() bool {
	return !a.isOptimistic() && a.Finalized != nil && *a.Finalized
}

// seen is what an answer says of one validator. Absent fields are nil.
type seen struct {
	Index     *number `json:"index"`
	Status    string  `json:"status"`
	Validator struct {
		Pubkey            string  `json:"pubkey"`
		EffectiveBalance  *number `json:"effective_balance"`
		Slashed           *bool   `json:"slashed"`
		ExitEpoch         *number `json:"exit_epoch"`
		WithdrawableEpoch *number `json:"withdrawable_epoch"`
	} `json:"validator"`
}

var errContradiction = errors.New("it contradicts itself")

// statusForm is what any status looks like. The list of the Beacon API has been
// renamed before, so words that are not known here are kept as they are.
var statusForm = regexp.MustCompile(`^[a-z]+(_[a-zA-Z]+)*$`)

const maxStatus = 64

// parseSeen reads one validator of an answer and checks that it agrees with itself.
func parseSeen(raw json.RawMessage) (pubkey validator.PublicKey, v seen, err error) {
	if err := json.Unmarshal(raw, &v); err != nil {
		return pubkey, v, fmt.Errorf("a validator of the answer: %w", err)
	}
	if pubkey, err = validator.ParsePublicKey(v.Validator.Pubkey); err != nil {
		return pubkey, v, fmt.Errorf("a validator of the answer: %w", err)
	}
	if len(v.Status) > maxStatus || !statusForm.MatchString(v.Status) {
		return pubkey, v, fmt.Errorf("validator %s: %.80q is no status", pubkey, v.Status)
	}
	if v.Index == nil || v.Validator.EffectiveBalance == nil || v.Validator.Slashed == nil ||
		v.Validator.ExitEpoch == nil || v.Validator.WithdrawableEpoch == nil {
		return pubkey, v, fmt.Errorf("validator %s: the answer lacks a field", pubkey)
	}
	if !v.agrees() {
		return pubkey, v, fmt.Errorf("validator %s, %s: %w", pubkey, v.Status, errContradiction)
	}
	return pubkey, v, nil
}

// agrees reports whether the status is one that a validator with these epochs has.
func (v seen) agrees() bool {
	leaves, withdrawable := *v.Validator.ExitEpoch != farFuture, *v.Validator.WithdrawableEpoch != farFuture
	slashed := *v.Validator.Slashed
	switch {
	case strings.HasSuffix(v.Status, "_slashed"):
		if !slashed {
			return false
		}
	case !strings.HasPrefix(v.Status, "withdrawal_"): // which does not tell
		if slashed {
			return false
		}
	}
	if v.isOver() || slashed {
		return leaves && withdrawable
	}
	return true
}

func (v seen) isOver() bool {
	return strings.HasPrefix(v.Status, "exited_") || strings.HasPrefix(v.Status, "withdrawal_")
}

// reason says why the key is to be retired; it is empty while it is not.
func (v seen) reason() string {
	switch {
	case *v.Validator.Slashed:
		return fsm.RetiredSlashed
	case strings.HasPrefix(v.Status, "withdrawal_"):
		return fsm.RetiredWithdrawn
	case strings.HasPrefix(v.Status, "exited_"):
		return fsm.RetiredExited
	}
	return ""
}

// record is how the state keeps it.
func (v seen) record(pubkey []byte) *fsmpb.Validator {
	return &fsmpb.Validator{
		Pubkey: pubkey, Status: v.Status, Index: uint64(*v.Index),
		EffectiveBalanceGwei: uint64(*v.Validator.EffectiveBalance),
	}
}

// isNews reports whether the state knows something else of the validator.
func isNews(k *fsmpb.Key, v *fsmpb.Validator) bool {
	return k.GetValidatorStatus() != v.GetStatus() || k.GetValidatorIndex() != v.GetIndex() ||
		k.GetEffectiveBalanceGwei() != v.GetEffectiveBalanceGwei()
}
