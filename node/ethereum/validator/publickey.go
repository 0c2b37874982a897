package validator

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	blst "github.com/supranational/blst/bindings/go"
)

// ErrPublicKey is wrapped by every error about a malformed public key.
var ErrPublicKey = errors.New("malformed BLS public key")

// PublicKey is a compressed BLS12-381 public key; it names a validator. It need
// not be a point on the curve: Check tells.
type PublicKey [48]byte

// ParsePublicKey parses 96 hexadecimal digits with or without 0x before them.
func ParsePublicKey(text string) (PublicKey, error) {
	var key PublicKey
	err := key.UnmarshalText([]byte(text))
	return key, err
}

// String returns 0x and 96 lower-case hexadecimal digits.
func (k PublicKey) String() string { return "0x" + hex.EncodeToString(k[:]) }

// MarshalText returns what String returns.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what ParsePublicKey accepts and changes nothing on error.
func (k *PublicKey) UnmarshalText(text []byte) error {
	digits := strings.TrimPrefix(string(text), "0x")
	if len(digits) != 2*len(k) {
		return fmt.Errorf("%w: want %d hexadecimal digits, got %d characters", ErrPublicKey, 2*len(k), len(digits))
	}
	decoded, err := hex.DecodeString(digits)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPublicKey, err)
	}
	*k = PublicKey(decoded)
	return nil
}

// Check tells whether the key is a valid one: a point of the right subgroup and
// not infinity (KeyValidate of the BLS signature draft).
func (k PublicKey) Check() error {
	if point := new(blst.P1Affine).Uncompress(k[:]); point == nil || !point.KeyValidate() {
		return fmt.Errorf("%w: %s is no point of the group", ErrPublicKey, k)
	}
	return nil
}
