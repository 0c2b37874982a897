package validator

import (
	"errors"
	"fmt"
)

// ErrSignature is returned when a deposit's signature does not verify.
var ErrSignature = errors.New("the deposit's signature does not verify")

// DepositData is what the deposit contract is called with. The consensus layer
// drops a first deposit whose signature is bad, and its ETH with it: Verify comes
// before money is sent.
type DepositData struct {
	// PublicKey names the validator.
	PublicKey PublicKey
	// Credentials say where the stake goes when it is withdrawn.
	Credentials Credentials
	// AmountGwei is the stake in gwei.
	AmountGwei uint64
	// Signature is by PublicKey over SigningRoot.
	Signature Signature
}

// NewDepositData makes and signs the deposit of key for the network with this
// genesis fork version. Credentials and amount are checked; the result verifies.
func NewDepositData(key *SecretKey, credentials Credentials, amountGwei uint64, forkVersion [4]byte) (DepositData, error) {
	deposit := DepositData{PublicKey: key.PublicKey(), Credentials: credentials, AmountGwei: amountGwei}
	deposit.Signature = key.Sign(deposit.SigningRoot(forkVersion))
	if err := deposit.Verify(forkVersion); err != nil {
		return DepositData{}, err
	}
	return deposit, nil
}

// Verify checks all that must be true before money is sent and that needs no
// chain: credentials, amount, public key, and the signature over the message
// root for this genesis fork version. Errors wrap ErrCredentials, ErrAmount,
// ErrPublicKey or ErrSignature and name the public key.
func (d DepositData) Verify(forkVersion [4]byte) error {
	if err := d.Credentials.Check(); err != nil {
		return fmt.Errorf("deposit for %s: %w", d.PublicKey, err)
	}
	if err := CheckAmount(d.AmountGwei, d.Credentials); err != nil {
		return fmt.Errorf("deposit for %s: %w", d.PublicKey, err)
	}
	if err := d.PublicKey.Check(); err != nil {
		return fmt.Errorf("deposit for %s: %w", d.PublicKey, err)
	}
	if !d.Signature.Verify(d.PublicKey, d.SigningRoot(forkVersion)) {
		return fmt.Errorf("deposit for %s: %w under fork version 0x%x", d.PublicKey, ErrSignature, forkVersion)
	}
	return nil
}
