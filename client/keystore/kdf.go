package keystore

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"golang.org/x/crypto/scrypt"
)

// KDF names the function that makes a key of a password.
type KDF string

const (
	// PBKDF2 is PBKDF2-HMAC-SHA256 with 262,144 rounds: about 0.1 s a keystore.
	PBKDF2 KDF = "pbkdf2"
	// Scrypt is scrypt with n=262144, r=8, p=1: about 1.4 s and 256 MiB a keystore.
	Scrypt KDF = "scrypt"
)

// ParseKDF returns the key derivation function of this name; the error lists them.
func ParseKDF(name string) (KDF, error) {
	switch kdf := KDF(name); kdf {
	case PBKDF2, Scrypt:
		return kdf, nil
	default:
		return "", fmt.Errorf("unknown key derivation function %q: choose one of %s, %s", name, PBKDF2, Scrypt)
	}
}

const (
	derivedLength = 32
	pseudorandom  = "hmac-sha256"

	// What a foreign file may ask for at most: eight times what EIP-2335 writes, so
	// that a hostile one costs seconds and half a GiB, not hours and all memory.
	maxRounds       = 1 << 22
	maxScryptWork   = 1 << 24 // n·r·p
	maxScryptMemory = 1 << 29 // 128·n·r bytes
	maxSaltLength   = 1024
)

// kdfModule is crypto.kdf of a keystore.
type kdfModule struct {
	Function KDF       `json:"function"`
	Params   kdfParams `json:"params"`
	Message  string    `json:"message"`
}

// kdfParams are the parameters of either function; those of the other are zero
// and not written.
type kdfParams struct {
	DKLen int    `json:"dklen"`
	C     int    `json:"c,omitempty"`
	N     int    `json:"n,omitempty"`
	P     int    `json:"p,omitempty"`
	R     int    `json:"r,omitempty"`
	PRF   string `json:"prf,omitempty"`
	Salt  string `json:"salt"`
}

// standardParams are the parameters that EIP-2335's own examples use, without salt.
func standardParams(kdf KDF) (kdfParams, error) {
	switch kdf {
	case PBKDF2:
		return kdfParams{DKLen: derivedLength, C: 262144, PRF: pseudorandom}, nil
	case Scrypt:
		return kdfParams{DKLen: derivedLength, N: 262144, R: 8, P: 1}, nil
	default:
		_, err := ParseKDF(string(kdf))
		return kdfParams{}, err
	}
}

// derive makes the decryption key. What is refused is refused before it costs anything.
func (m kdfModule) derive(password Password) ([]byte, error) {
	salt, err := m.check()
	if err != nil {
		return nil, err
	}
	normalised := password.normalised()
	defer clear(normalised)
	var key []byte
	if m.Function == PBKDF2 {
		key, err = pbkdf2.Key(sha256.New, string(normalised), salt, m.Params.C, derivedLength)
	} else {
		key, err = scrypt.Key(normalised, salt, m.Params.N, m.Params.R, m.Params.P, derivedLength)
	}
	if err != nil {
		return nil, fmt.Errorf("derive a key with %s: %w", m.Function, err)
	}
	return key, nil
}

// check returns the salt of parameters that are sound and affordable.
func (m kdfModule) check() ([]byte, error) {
	salt, err := hex.DecodeString(m.Params.Salt)
	if err != nil || len(salt) > maxSaltLength {
		return nil, fmt.Errorf("%w: its salt is not hexadecimal or too long", ErrKeystore)
	}
	if m.Params.DKLen != derivedLength {
		return nil, fmt.Errorf("%w: it wants a derived key of %d bytes, not %d", ErrKeystore, m.Params.DKLen, derivedLength)
	}
	switch m.Function {
	case PBKDF2:
		return salt, m.Params.checkPBKDF2()
	case Scrypt:
		return salt, m.Params.checkScrypt()
	default:
		return nil, fmt.Errorf("%w: unknown key derivation function %q", ErrKeystore, m.Function)
	}
}

func (p kdfParams) checkPBKDF2() error {
	if p.PRF != pseudorandom {
		return fmt.Errorf("%w: unknown pseudorandom function %q", ErrKeystore, p.PRF)
	}
	if p.C < 1 || p.C > maxRounds {
		return fmt.Errorf("%w: pbkdf2 with %d rounds, want 1 to %d", ErrKeystore, p.C, maxRounds)
	}
	return nil
}

func (p kdfParams) checkScrypt() error {
	powerOfTwo := p.N > 1 && p.N&(p.N-1) == 0
	if !powerOfTwo || p.R < 1 || p.P < 1 {
		return fmt.Errorf("%w: scrypt with n=%d r=%d p=%d is not defined", ErrKeystore, p.N, p.R, p.P)
	}
	// Division instead of multiplication, so that nothing overflows.
	if p.N > maxScryptMemory/128/p.R || p.N > maxScryptWork/p.R/p.P {
		return fmt.Errorf("%w: scrypt with n=%d r=%d p=%d costs too much", ErrKeystore, p.N, p.R, p.P)
	}
	return nil
}
