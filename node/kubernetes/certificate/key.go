package certificate

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Algorithm says what kind of key a cloud has, by the name that the API uses.
type Algorithm string

// The kinds of keys.
const (
	// ECDSAP256 is ECDSA on the curve P-256: the default.
	ECDSAP256 Algorithm = "ECDSA-P256"
	// RSA4096 is RSA with 4,096 bits. Generating one keeps a core busy for seconds.
	RSA4096 Algorithm = "RSA-4096"
	// Ed25519 is EdDSA on edwards25519 (RFC 8032).
	Ed25519 Algorithm = "Ed25519"
)

const rsaBits = 4096

var (
	// ErrAlgorithm says that there is no such kind of key.
	ErrAlgorithm = errors.New("not an algorithm for keys: it is ECDSA-P256, RSA-4096 or Ed25519")
	// ErrKey says that bytes are not a private key of a known [Algorithm].
	ErrKey = errors.New("not a private key of a known kind")
	// ErrZeroed says that a key was used after it was zeroed.
	ErrZeroed = errors.New("the key was cleared from memory")
)

// ParseAlgorithm finds an algorithm by its name, in any case; the empty name is that
// of the default. The error wraps [ErrAlgorithm].
func ParseAlgorithm(name string) (Algorithm, error) {
	for _, known := range []Algorithm{ECDSAP256, RSA4096, Ed25519} {
		if strings.EqualFold(name, string(known)) {
			return known, nil
		}
	}
	if name == "" {
		return ECDSAP256, nil
	}
	return "", fmt.Errorf("%.64q is %w", name, ErrAlgorithm)
}

// Key is a private key. It prints as redacted and leaves only by PKCS8 and PEM. It may
// be used by several goroutines, but not while one of them calls Zero.
type Key struct {
	// Behind two pointers, because fmt follows one.
	inner **keyBytes
}

type keyBytes struct {
	pkcs8     []byte // nil once zeroed
	spki      []byte
	public    crypto.PublicKey
	algorithm Algorithm
}

// GenerateKey makes a new key from the system's randomness. The error wraps
// [ErrAlgorithm].
func GenerateKey(algorithm Algorithm) (Key, error) {
	var key crypto.Signer
	var err error
	switch algorithm {
	case ECDSAP256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RSA4096:
		key, err = rsa.GenerateKey(rand.Reader, rsaBits)
	case Ed25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		return Key{}, fmt.Errorf("%.64q is %w", algorithm, ErrAlgorithm)
	}
	if err != nil {
		return Key{}, fmt.Errorf("generate a key %s: %w", algorithm, err)
	}
	return take(key, algorithm)
}

// ParseKey reads a key in PKCS#8, DER (RFC 5958), of which it keeps a copy. The error
// wraps [ErrKey] and tells nothing of the bytes.
func ParseKey(pkcs8 []byte) (Key, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return Key{}, fmt.Errorf("%w: it is not PKCS#8", ErrKey)
	}
	switch key := parsed.(type) {
	case *ecdsa.PrivateKey:
		if key.Curve == elliptic.P256() {
			return take(key, ECDSAP256)
		}
	case *rsa.PrivateKey:
		if key.N.BitLen() == rsaBits {
			return take(key, RSA4096)
		}
	case ed25519.PrivateKey:
		return take(key, Ed25519)
	}
	return Key{}, fmt.Errorf("%w: another algorithm, curve or length", ErrKey)
}

func take(key crypto.Signer, algorithm Algorithm) (Key, error) {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Key{}, fmt.Errorf("%w: it can not be written", ErrKey)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return Key{}, fmt.Errorf("%w: its public half can not be written", ErrKey)
	}
	inner := &keyBytes{pkcs8: pkcs8, spki: spki, public: key.Public(), algorithm: algorithm}
	return Key{inner: &inner}, nil
}

// half finds what there is of the key; the zero value has nothing.
func (k Key) half() *keyBytes {
	if k.inner == nil {
		return &keyBytes{}
	}
	return *k.inner
}

// Zero overwrites the private half and may be called more than once. The public half
// stays. Copies that the standard library made in between are the collector's.
func (k Key) Zero() {
	half := k.half()
	clear(half.pkcs8)
	half.pkcs8 = nil
}

// Algorithm is the kind of the key.
func (k Key) Algorithm() Algorithm { return k.half().algorithm }

// Public is the public half.
func (k Key) Public() crypto.PublicKey { return k.half().public }

// SPKI is the public half as SubjectPublicKeyInfo, DER (RFC 5280), a copy.
func (k Key) SPKI() []byte { return bytes.Clone(k.half().spki) }

// PKCS8 is the private key in PKCS#8, DER, a copy that the caller clears; nil once zeroed.
func (k Key) PKCS8() []byte { return bytes.Clone(k.half().pkcs8) }

// PEM is the private key in PKCS#8, PEM, a copy that the caller clears; nil once zeroed.
func (k Key) PEM() []byte {
	if k.half().pkcs8 == nil {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k.half().pkcs8})
}

// signer is the key to sign with. The error is [ErrZeroed].
func (k Key) signer() (crypto.Signer, error) {
	if k.half().pkcs8 == nil {
		return nil, ErrZeroed
	}
	parsed, err := x509.ParsePKCS8PrivateKey(k.half().pkcs8)
	if err != nil {
		return nil, fmt.Errorf("%w: it can not be read back", ErrKey)
	}
	return parsed.(crypto.Signer), nil // all that take was given are signers
}

const redacted = "[redacted]"

// String redacts the key.
func (Key) String() string { return redacted }

// Format redacts the key for every verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue redacts the key.
func (Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON redacts the key.
func (Key) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
