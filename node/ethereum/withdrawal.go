package ethereum

import (
	"errors"
	"fmt"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// WithdrawalKind is the kind of withdrawal credentials; its zero value is none.
type WithdrawalKind int

// Kinds of withdrawal credentials.
const (
	// BLS names, for each validator, the withdrawal key of the same seed and index (0x00).
	BLS WithdrawalKind = iota + 1
	// Address names an execution address (0x01).
	Address
	// Compounding names an execution address for compounding validators (0x02, EIP-7251).
	Compounding
)

// Withdrawal says where stakes go when they are withdrawn. The zero value is
// refused: where money goes is never a default.
type Withdrawal struct {
	Kind WithdrawalKind
	// To is the execution address, for every kind but BLS.
	To [20]byte
}

var errWithdrawal = errors.New("say where stakes are withdrawn to: BLS, or an execution address")

func (w Withdrawal) check() error {
	switch w.Kind {
	case BLS:
		if w.To != ([20]byte{}) {
			return fmt.Errorf("%w; BLS takes no address", errWithdrawal)
		}
		return nil
	case Address, Compounding:
		return w.example().Check()
	default:
		return errWithdrawal
	}
}

// example returns credentials of this kind; for BLS those of no key in particular.
func (w Withdrawal) example() validator.Credentials {
	switch w.Kind {
	case Address:
		return validator.AddressCredentials(w.To)
	case Compounding:
		return validator.CompoundingCredentials(w.To)
	default:
		return validator.BLSCredentials(validator.PublicKey{})
	}
}

// credentials returns those of the validator with this index of the seed.
func (w Withdrawal) credentials(seed *validator.Seed, index uint64) (validator.Credentials, error) {
	if w.Kind != BLS {
		return w.example(), nil
	}
	key, err := seed.WithdrawalKey(index)
	if err != nil {
		return validator.Credentials{}, fmt.Errorf("withdrawal key: %w", err)
	}
	defer key.Zero()
	return validator.BLSCredentials(key.PublicKey()), nil
}
