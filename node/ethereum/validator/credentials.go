package validator

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrCredentials is wrapped by every error about withdrawal credentials.
var ErrCredentials = errors.New("malformed withdrawal credentials")

// The first byte of withdrawal credentials says who may withdraw.
const (
	blsPrefix         = 0x00 // the owner of a BLS key
	addressPrefix     = 0x01 // an execution address; the balance above 32 ETH is swept to it
	compoundingPrefix = 0x02 // an execution address; the balance compounds up to 2048 ETH (EIP-7251)
)

// Credentials are the withdrawal credentials of a validator: where its stake goes.
type Credentials [32]byte

// BLSCredentials names a BLS withdrawal key (0x00).
func BLSCredentials(withdrawal PublicKey) Credentials {
	credentials := Credentials(sha256.Sum256(withdrawal[:]))
	credentials[0] = blsPrefix
	return credentials
}

// AddressCredentials names an execution address (0x01).
func AddressCredentials(address [20]byte) Credentials {
	return withAddress(addressPrefix, address)
}

// CompoundingCredentials names an execution address for a compounding validator
// (0x02, EIP-7251).
func CompoundingCredentials(address [20]byte) Credentials {
	return withAddress(compoundingPrefix, address)
}

// ParseCredentials reads 32 bytes and refuses what Check refuses.
func ParseCredentials(raw []byte) (Credentials, error) {
	if len(raw) != len(Credentials{}) {
		return Credentials{}, fmt.Errorf("%w: %d bytes, want %d", ErrCredentials, len(raw), len(Credentials{}))
	}
	credentials := Credentials(raw)
	if err := credentials.Check(); err != nil {
		return Credentials{}, err
	}
	return credentials, nil
}

// Check refuses every prefix but 0x00, 0x01 and 0x02, bytes other than zero
// between prefix and address, and the zero address: stake under any of these is lost.
func (c Credentials) Check() error {
	switch c[0] {
	case blsPrefix:
		return nil
	case addressPrefix, compoundingPrefix:
		if [11]byte(c[1:12]) != ([11]byte{}) {
			return fmt.Errorf("%w %s: the eleven bytes before the address must be zero", ErrCredentials, c)
		}
		if [20]byte(c[12:]) == ([20]byte{}) {
			return fmt.Errorf("%w %s: they name the zero address", ErrCredentials, c)
		}
		return nil
	default:
		return fmt.Errorf("%w %s: unknown prefix 0x%02x", ErrCredentials, c, c[0])
	}
}

// String returns 0x and 64 lower-case hexadecimal digits.
func (c Credentials) String() string { return "0x" + hex.EncodeToString(c[:]) }

// MarshalText returns what String returns.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Compounding tells whether the balance may grow beyond 32 ETH (prefix 0x02).
func (c Credentials) Compounding() bool { return c[0] == compoundingPrefix }

func withAddress(prefix byte, address [20]byte) Credentials {
	var credentials Credentials
	credentials[0] = prefix
	copy(credentials[12:], address[:])
	return credentials
}
