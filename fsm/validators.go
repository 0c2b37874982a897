package fsm

import (
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// maxStatus bounds a validator's status, in bytes.
const maxStatus = 64

// observeValidators keeps what the beacon chain says of keys. What is said of a
// public key that is none of ours is left out. Nothing else depends on it.
func (w *write) observeValidators(c *fsmpb.ObserveValidators) Result {
	for _, v := range c.GetValidators() {
		if len(v.GetStatus()) > maxStatus {
			return Result{Refusal: refuse(Invalid, "a validator's status of %d bytes", len(v.GetStatus()))}
		}
	}
	for _, v := range c.GetValidators() {
		old := w.key(v.GetPubkey())
		if old == nil {
			continue
		}
		k := copyKey(old)
		k.ValidatorStatus, k.ValidatorIndex, k.EffectiveBalanceGwei = v.GetStatus(), v.GetIndex(), v.GetEffectiveBalanceGwei()
		if k.GetValidatorStatus() == "" {
			k.ValidatorIndex, k.EffectiveBalanceGwei = 0, 0
		}
		w.putKey(k)
	}
	return Result{}
}
