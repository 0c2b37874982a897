package validator

import (
	"encoding/hex"

	blst "github.com/supranational/blst/bindings/go"
)

// Signature is a compressed BLS12-381 signature.
type Signature [96]byte

// String returns 0x and 192 lower-case hexadecimal digits.
func (s Signature) String() string { return "0x" + hex.EncodeToString(s[:]) }

// MarshalText returns what String returns.
func (s Signature) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Verify tells whether the signature over a signing root is by the owner of key.
// Both points are checked to be in their groups and the key not to be infinity.
func (s Signature) Verify(key PublicKey, root [32]byte) bool {
	return new(blst.P2Affine).VerifyCompressed(s[:], true, key[:], true, root[:], domainSeparation)
}
