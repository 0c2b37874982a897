package validator

import (
	"errors"
	"fmt"
)

// Amounts of deposits, in gwei.
const (
	// GweiPerETH is one ETH.
	GweiPerETH uint64 = 1_000_000_000
	// MinDepositGwei is the least that the deposit contract accepts.
	MinDepositGwei = GweiPerETH
	// ActivationGwei is the balance with which a validator is activated, and the
	// most that is of use under 0x00 and 0x01 credentials.
	ActivationGwei = 32 * GweiPerETH
	// MaxCompoundingGwei is the most that is of use under 0x02 credentials (EIP-7251).
	MaxCompoundingGwei = 2048 * GweiPerETH
)

// ErrAmount is wrapped by every error of CheckAmount.
var ErrAmount = errors.New("deposit amount out of range")

// CheckAmount tells whether amount, in gwei, can be deposited and is of use
// under these credentials: 1 to 32 ETH, and to 2048 ETH if they compound.
func CheckAmount(gwei uint64, credentials Credentials) error {
	most := ActivationGwei
	if credentials.Compounding() {
		most = MaxCompoundingGwei
	}
	if gwei < MinDepositGwei || gwei > most {
		return fmt.Errorf("%w: %d gwei, want %d to %d under credentials of type 0x%02x",
			ErrAmount, gwei, MinDepositGwei, most, credentials[0])
	}
	return nil
}
