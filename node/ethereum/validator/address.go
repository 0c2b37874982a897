package validator

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/sha3"
)

// ErrAddress is wrapped by every error of ParseAddress.
var ErrAddress = errors.New("malformed Ethereum address")

// ParseAddress parses 0x and 40 hexadecimal digits. Digits in mixed case must
// carry the checksum of EIP-55; all lower or all upper case carries none. The
// zero address is refused, because what is withdrawn there is lost.
func ParseAddress(text string) ([20]byte, error) {
	var address [20]byte
	digits, prefixed := strings.CutPrefix(text, "0x")
	if !prefixed || len(digits) != 2*len(address) {
		return address, fmt.Errorf("%w %q: want 0x and 40 hexadecimal digits", ErrAddress, text)
	}
	if _, err := hex.Decode(address[:], []byte(digits)); err != nil {
		return [20]byte{}, fmt.Errorf("%w %q: %w", ErrAddress, text, err)
	}
	mixed := digits != strings.ToLower(digits) && digits != strings.ToUpper(digits)
	if mixed && text != FormatAddress(address) {
		return [20]byte{}, fmt.Errorf("%w %q: its EIP-55 checksum is wrong, so it was mistyped", ErrAddress, text)
	}
	if address == ([20]byte{}) {
		return address, fmt.Errorf("%w %q: what is sent to the zero address is lost", ErrAddress, text)
	}
	return address, nil
}

// FormatAddress returns 0x and 40 hexadecimal digits with the checksum of EIP-55.
func FormatAddress(address [20]byte) string {
	digits := []byte(hex.EncodeToString(address[:]))
	keccak := sha3.NewLegacyKeccak256()
	keccak.Write(digits)
	sum := hex.EncodeToString(keccak.Sum(nil))
	for i, digit := range digits {
		if digit >= 'a' && sum[i] >= '8' {
			digits[i] = digit - 'a' + 'A'
		}
	}
	return "0x" + string(digits)
}
