package wire

import (
	"crypto/hpke"
	"encoding/binary"
	"errors"
	"fmt"
)

// KEMs (RFC 9180 and the IANA HPKE registry) to which secrets can be sealed.
const (
	KEMX25519         RecipientKem = 0x0020
	KEMMLKEM768X25519 RecipientKem = 0x647a
)

// ErrSealed says that a sealed message could not be opened: it was made for
// another key, another request, or was altered.
var ErrSealed = errors.New("sealed message does not open")

// ErrRecipient says that a recipient names an unknown KEM or an invalid key.
var ErrRecipient = errors.New("invalid recipient")

// NewRecipient generates a key pair for one exchange; the private key opens
// what is sealed to the recipient.
func NewRecipient(kem RecipientKem) (hpke.PrivateKey, Recipient, error) {
	k, err := hpkeKEM(kem)
	if err != nil {
		return nil, Recipient{}, err
	}
	private, err := k.GenerateKey()
	if err != nil {
		return nil, Recipient{}, fmt.Errorf("generate HPKE key: %w", err)
	}
	return private, Recipient{Kem: kem, Key: private.PublicKey().Bytes()}, nil
}

// Check reports whether secrets can be sealed to the recipient; its error wraps
// [ErrRecipient]. It seals nothing once: some keys that can be read can not be
// sealed to, such as points of X25519 of low order (RFC 7748, section 6.1).
func (r Recipient) Check() error {
	if _, err := r.Seal(nil, nil); err != nil {
		if errors.Is(err, ErrRecipient) {
			return err
		}
		return fmt.Errorf("%w: %w", ErrRecipient, err)
	}
	return nil
}

// Seal encrypts to the recipient by HPKE in base mode with HKDF-SHA256 and
// AES-256-GCM. info binds the message to its purpose: see [AllocationInfo].
func (r Recipient) Seal(info, plaintext []byte) (Sealed, error) {
	public, err := r.publicKey()
	if err != nil {
		return Sealed{}, err
	}
	ciphertext, err := hpke.Seal(public, hpke.HKDFSHA256(), hpke.AES256GCM(), info, plaintext)
	if err != nil {
		return Sealed{}, fmt.Errorf("seal: %w", err)
	}
	return Sealed{Kem: int(r.Kem), Ciphertext: ciphertext}, nil
}

// Open decrypts a message that was sealed to the private key under the same info.
func (s Sealed) Open(private hpke.PrivateKey, info []byte) ([]byte, error) {
	if s.Kem != int(private.KEM().ID()) {
		return nil, fmt.Errorf("KEM %d, the key is of %d: %w", s.Kem, private.KEM().ID(), ErrSealed)
	}
	plaintext, err := hpke.Open(private, hpke.HKDFSHA256(), hpke.AES256GCM(), info, s.Ciphertext)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSealed, err)
	}
	return plaintext, nil
}

// AllocationInfo is the HPKE info for the secrets of an allocation. The server
// builds it from the request, the client from what it asked, so an answer for
// another cluster, pod or UID does not open.
func AllocationInfo(clusterID, namespace, pod, podUID string) []byte {
	return lengthPrefixed("keysteward/v1/allocation-secrets", clusterID, namespace, pod, podUID)
}

// SeedInfo is the HPKE info for a seed on its way to the leader.
func SeedInfo(clusterID string) []byte {
	return lengthPrefixed("keysteward/v1/seed", clusterID)
}

func lengthPrefixed(parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p))) //nolint:gosec // names and IDs are far below 4 GiB
		b = append(b, p...)
	}
	return b
}

func (r Recipient) publicKey() (hpke.PublicKey, error) {
	k, err := hpkeKEM(r.Kem)
	if err != nil {
		return nil, err
	}
	public, err := k.NewPublicKey(r.Key)
	if err != nil {
		return nil, fmt.Errorf("%w: key of %d bytes: %w", ErrRecipient, len(r.Key), err)
	}
	return public, nil
}

func hpkeKEM(id RecipientKem) (hpke.KEM, error) {
	if id != KEMX25519 && id != KEMMLKEM768X25519 {
		return nil, fmt.Errorf("%w: kem %d (want %d for X25519 or %d for ML-KEM-768 with X25519)", ErrRecipient, id, KEMX25519, KEMMLKEM768X25519)
	}
	k, err := hpke.NewKEM(uint16(id))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecipient, err)
	}
	return k, nil
}
