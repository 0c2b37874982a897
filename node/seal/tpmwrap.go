package seal

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

const (
	coordinate     = 32 // bytes of a coordinate of P-256
	tpmWrapVersion = 1
	tpmWrapHead    = 1 + 1 + 2*coordinate // version, then HPKE's encapsulated key
)

// tpmTemplate is the key that is asked for. It decrypts and does nothing else, is bound
// to its TPM, was made there, and is unrestricted, since only such a key does ECDH for
// us. What stands in unique makes it a key of ours alone, in place of the storage root key
// that everybody shares. Changing anything here makes another key.
func tpmTemplate() tpm2.TPMTPublic {
	ours := sha256.Sum256([]byte("keysteward key-encryption key, version 1"))
	return tpmPublic(ours[:], make([]byte, coordinate))
}

// tpmPublic is the public area of the key with these coordinates.
func tpmPublic(x, y []byte) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgECC,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true,
			UserWithAuth: true, // with an empty password: who may open the device may use the key
			NoDA:         true, // there is no password to guess, so nothing to lock out
			Decrypt:      true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: x},
			Y: tpm2.TPM2BECCParameter{Buffer: y},
		}),
	}
}

// publicArea encodes the public area of the key at this point, as a TPM does.
func publicArea(point *ecdh.PublicKey) []byte {
	b := point.Bytes()
	return tpm2.Marshal(tpmPublic(b[1:1+coordinate], b[1+coordinate:]))
}

// pointOf checks that a public area is our template but for the point, which it returns.
func pointOf(public *tpm2.TPMTPublic) (*ecdh.PublicKey, error) {
	unique, err := public.Unique.ECC()
	if err != nil {
		return nil, fmt.Errorf("not an elliptic curve: %w", err)
	}
	if len(unique.X.Buffer) > coordinate || len(unique.Y.Buffer) > coordinate {
		return nil, errors.New("not a point of P-256")
	}
	encoded := make([]byte, 1+2*coordinate) // some TPMs leave leading zeros out
	encoded[0] = 4
	copy(encoded[1+coordinate-len(unique.X.Buffer):], unique.X.Buffer)
	copy(encoded[1+2*coordinate-len(unique.Y.Buffer):], unique.Y.Buffer)
	point, err := ecdh.P256().NewPublicKey(encoded)
	if err != nil {
		return nil, fmt.Errorf("not a point of P-256: %w", err)
	}
	if want := tpmPublic(unique.X.Buffer, unique.Y.Buffer); !bytes.Equal(tpm2.Marshal(want), tpm2.Marshal(*public)) {
		return nil, errors.New("other attributes or parameters than those of the template")
	}
	return point, nil
}

// tpmIdentity names the key by the SHA-256 of its public area, all of it: an operator
// compares it before a root key is wrapped for it.
func tpmIdentity(point *ecdh.PublicKey) Identity {
	public := publicArea(point)
	sum := sha256.Sum256(public)
	return Identity{ID: "tpm:" + hex.EncodeToString(sum[:]), Public: public}
}

// tpmPointOf checks the public part that another node tells: it is our template with a
// point of the curve, and the ID is its digest. Nothing else of it is decoded. Whether
// it lies in a TPM at all can not be seen from it: that is what the approval is for.
func tpmPointOf(to Identity) (*ecdh.PublicKey, error) {
	public := to.Public
	const points = 2 * (2 + coordinate) // each coordinate has its length in front
	if n := len(publicArea(basePoint())); len(public) != n {
		return nil, fmt.Errorf("%w: %s: public part of %d bytes, want %d", ErrKEK, to.ID, len(public), n)
	}
	at := public[len(public)-points:]
	point, err := ecdh.P256().NewPublicKey(append(append([]byte{4}, at[2:2+coordinate]...), at[4+coordinate:]...))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: public part: %w", ErrKEK, to.ID, err)
	}
	if want := tpmIdentity(point); want.ID != to.ID || !bytes.Equal(want.Public, public) {
		return nil, fmt.Errorf("%w: %s: the public part is another key's, or not of the template", ErrKEK, to.ID)
	}
	return point, nil
}

// basePoint is any point, for the length of what is encoded.
func basePoint() *ecdh.PublicKey {
	one := make([]byte, coordinate)
	one[coordinate-1] = 1
	key, err := ecdh.P256().NewPrivateKey(one)
	if err != nil {
		panic(err) // one is a scalar of P-256
	}
	return key.PublicKey()
}

func tpmInfo(id string) []byte { return additional("keysteward tpm key-encryption key", id) }

// wrapForTPM is HPKE (RFC 9180, base mode) with DHKEM(P-256, HKDF-SHA256), HKDF-SHA256
// and AES-256-GCM.
func wrapForTPM(to Identity, plaintext, additional []byte) ([]byte, error) {
	point, err := tpmPointOf(to)
	if err != nil {
		return nil, err
	}
	public, err := hpke.NewDHKEMPublicKey(point)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrKEK, to.ID, err)
	}
	encapsulated, sender, err := hpke.NewSender(public, hpke.HKDFSHA256(), hpke.AES256GCM(), tpmInfo(to.ID))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrKEK, to.ID, err)
	}
	sealed, err := sender.Seal(additional, plaintext)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrKEK, to.ID, err)
	}
	return append(append([]byte{tpmWrapVersion}, encapsulated...), sealed...), nil
}
