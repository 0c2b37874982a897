package validator

import (
	"crypto/pbkdf2"
	"crypto/sha512"
	"errors"
	"fmt"
	"strings"

	"github.com/tyler-smith/go-bip39"
	"golang.org/x/text/unicode/norm"
)

// ErrMnemonic is wrapped by every error of ParseMnemonic.
var ErrMnemonic = errors.New("invalid mnemonic")

// mnemonicRounds is BIP-39's number of PBKDF2 iterations.
const mnemonicRounds = 2048

// Mnemonic is a sentence of 12 to 24 English words (BIP-39). It prints as
// "[redacted]". The zero value is no mnemonic; its Reveal is empty.
type Mnemonic struct {
	Redacted
	words Hidden[string] // lower case, one space between words
}

// NewMnemonic returns the 24 words for 256 bits of entropy.
func NewMnemonic(entropy [32]byte) (Mnemonic, error) {
	words, err := bip39.NewMnemonic(entropy[:])
	if err != nil {
		return Mnemonic{}, fmt.Errorf("make mnemonic: %w", err)
	}
	return Mnemonic{words: Hide(&words)}, nil
}

// ParseMnemonic accepts 12, 15, 18, 21 or 24 words of BIP-39's English list with
// a right checksum, in any case and with any white space. Its errors wrap
// ErrMnemonic, give the position of an unknown word and never a word itself.
func ParseMnemonic(text string) (Mnemonic, error) {
	words := strings.Fields(strings.ToLower(norm.NFKD.String(text)))
	if len(words) < 12 || len(words) > 24 || len(words)%3 != 0 {
		return Mnemonic{}, fmt.Errorf("%w: it has %d words, want 12, 15, 18, 21 or 24", ErrMnemonic, len(words))
	}
	for i, word := range words {
		if _, known := bip39.GetWordIndex(word); !known {
			return Mnemonic{}, fmt.Errorf("%w: word %d is not in the English word list of BIP-39", ErrMnemonic, i+1)
		}
	}
	sentence := strings.Join(words, " ")
	entropy, err := bip39.EntropyFromMnemonic(sentence)
	clear(entropy)
	if err != nil {
		return Mnemonic{}, fmt.Errorf("%w: the checksum is wrong, so a word is mistaken or out of place", ErrMnemonic)
	}
	return Mnemonic{words: Hide(&sentence)}, nil
}

// Reveal returns the words, separated by single spaces.
func (m Mnemonic) Reveal() string {
	if words := m.words.Reveal(); words != nil {
		return *words
	}
	return ""
}

// Seed returns the 64 bytes that BIP-39 derives from the words and the
// passphrase, which may be empty. Any other passphrase is another seed: nothing
// can tell a wrong one.
func (m Mnemonic) Seed(passphrase string) *Seed {
	salt := []byte("mnemonic" + norm.NFKD.String(passphrase))
	derived, err := pbkdf2.Key(sha512.New, m.Reveal(), salt, mnemonicRounds, seedLength)
	if err != nil { // only a FIPS 140-only process refuses, and there is no other way to this seed
		panic(fmt.Sprintf("derive seed from mnemonic: %v", err))
	}
	defer clear(derived)
	seed, err := SeedFromBytes(derived)
	if err != nil {
		panic(fmt.Sprintf("derive seed from mnemonic: %v", err))
	}
	return seed
}
