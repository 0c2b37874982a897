package keystore

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// ErrEmptyPassword is returned for a password of which normalisation leaves nothing.
var ErrEmptyPassword = errors.New("the password is empty")

// Password encrypts keystores. It prints as "[redacted]".
type Password struct {
	validator.Redacted
	text validator.Hidden[[]byte]
}

// NewPassword copies a password in UTF-8, such as the content of a password file;
// line ends behind it are dropped.
func NewPassword(text []byte) (Password, error) {
	if !utf8.Valid(text) {
		return Password{}, errors.New("the password is not UTF-8")
	}
	kept := bytes.Clone(bytes.TrimRight(text, "\r\n"))
	password := Password{text: validator.Hide(&kept)}
	if len(password.normalised()) == 0 {
		return Password{}, ErrEmptyPassword
	}
	return password, nil
}

// RandomPassword returns 32 bytes of random as 64 hexadecimal digits.
func RandomPassword(random io.Reader) (Password, error) {
	var raw [32]byte
	defer clear(raw[:])
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return Password{}, fmt.Errorf("draw a password: %w", err)
	}
	text := hex.AppendEncode(nil, raw[:])
	return Password{text: validator.Hide(&text)}, nil
}

// Reveal returns a copy of the password as a password file holds it.
func (p Password) Reveal() []byte {
	if text := p.text.Reveal(); text != nil {
		return bytes.Clone(*text)
	}
	return nil
}

// Zero clears the password from memory.
func (p Password) Zero() {
	if text := p.text.Reveal(); text != nil {
		clear(*text)
	}
}

// given tells whether there is a password at all.
func (p Password) given() bool { return p.text.Reveal() != nil }

// normalised is the password as EIP-2335 gives it to the key derivation: NFKD,
// without control characters, in UTF-8.
func (p Password) normalised() []byte {
	return []byte(strings.Map(func(r rune) rune {
		if r < 0x20 || (r >= 0x7f && r <= 0x9f) {
			return -1
		}
		return r
	}, norm.NFKD.String(string(p.Reveal()))))
}
