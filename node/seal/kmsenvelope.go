package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/google/uuid"
	kmsapi "k8s.io/kms/apis/v2"
)

// Bounds of the KMS v2 protocol (the comments of k8s.io/kms/apis/v2/api.proto).
const (
	kmsMaxCiphertext  = 1 << 10
	kmsMaxKeyID       = 1 << 10
	kmsMaxAnnotations = 32 << 10 // keys and values together
)

// kmsEnvelope is a root key as a plugin wraps it. Only Sealed is ours; the rest is
// what the plugin wants back.
type kmsEnvelope struct {
	Version     int               `json:"version"`
	Ciphertext  []byte            `json:"ciphertext"` // a random key, encrypted by the plugin
	KeyID       string            `json:"keyId"`
	Annotations map[string][]byte `json:"annotations,omitempty"`
	Sealed      []byte            `json:"sealed"` // the root key, under the random key
}

const (
	kmsEnvelopeVersion = 1
	kmsMaxEnvelope     = 64 << 10
)

func (e kmsEnvelope) request() *kmsapi.DecryptRequest {
	return &kmsapi.DecryptRequest{Ciphertext: e.Ciphertext, KeyId: e.KeyID, Annotations: e.Annotations, Uid: uuid.NewString()}
}

// bind adds what the plugin gave to the additional data, so that no part of one
// envelope can be put into another.
func (e kmsEnvelope) bind(to []byte) []byte {
	e.Sealed = nil
	head, _ := json.Marshal(e) //nolint:errchkjson // bytes and strings; map keys are sorted
	return additional("keysteward kms envelope", string(to), string(head))
}

func (e kmsEnvelope) encode() ([]byte, error) {
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode envelope: %w", err)
	}
	return b, nil
}

func decodeEnvelope(b []byte) (kmsEnvelope, error) {
	var e kmsEnvelope
	if len(b) > kmsMaxEnvelope {
		return e, fmt.Errorf("envelope of %d bytes: %w", len(b), ErrOpen)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return e, fmt.Errorf("envelope: %w: %w", ErrOpen, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return e, fmt.Errorf("envelope with something behind it: %w", ErrOpen)
	}
	if e.Version != kmsEnvelopeVersion {
		return e, fmt.Errorf("envelope of version %d, this program knows %d: %w", e.Version, kmsEnvelopeVersion, ErrOpen)
	}
	if err := checkEncrypted(e.Ciphertext, e.KeyID, e.Annotations); err != nil {
		return e, fmt.Errorf("envelope: %w: %w", ErrOpen, err)
	}
	return e, nil
}

// checkEncrypted holds a plugin to the protocol.
func checkEncrypted(ciphertext []byte, keyID string, annotations map[string][]byte) error {
	if len(ciphertext) == 0 || len(ciphertext) > kmsMaxCiphertext {
		return fmt.Errorf("ciphertext of %d bytes, want 1 to %d", len(ciphertext), kmsMaxCiphertext)
	}
	if err := checkKeyID(keyID); err != nil {
		return err
	}
	size := 0
	for name, value := range annotations {
		if !isFQDN(name) {
			return errors.New("name of an annotation is no fully qualified domain name")
		}
		size += len(name) + len(value)
	}
	if size > kmsMaxAnnotations {
		return fmt.Errorf("annotations of %d bytes, want at most %d", size, kmsMaxAnnotations)
	}
	return nil
}

func checkKeyID(keyID string) error {
	if keyID == "" || len(keyID) > kmsMaxKeyID {
		return fmt.Errorf("key ID of %d bytes, want 1 to %d", len(keyID), kmsMaxKeyID)
	}
	return nil
}

var fqdn = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)+$`)

// isFQDN follows Kubernetes: RFC 1123, two labels or more, a last dot allowed.
func isFQDN(name string) bool {
	name = strings.TrimSuffix(name, ".")
	return len(name) <= 253 && fqdn.MatchString(name)
}
