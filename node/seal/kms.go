package seal

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	kmsapi "k8s.io/kms/apis/v2"
)

// kmsTimeout bounds one call to a plugin, as Kubernetes' own default does.
const kmsTimeout = 3 * time.Second

// kmsKEK is a key that a plugin of the Kubernetes KMS v2 protocol holds, mostly in a
// cloud or a hardware module. A random key is encrypted by the plugin, and under
// it our root key together with its additional data, of which the protocol has none.
type kmsKEK struct {
	name    string // what all nodes call it
	socket  string // as net.Dial wants it, "@" in front of an abstract one
	timeout time.Duration
}

// newKMS takes [NAME@]unix:///PATH or [NAME@]unix:///@ABSTRACT.
func newKMS(rest string) (KEK, error) {
	name, endpoint, named := strings.Cut(rest, "@unix:")
	if named {
		endpoint = "unix:" + endpoint
	} else {
		name, endpoint = rest, rest
	}
	socket, ok := strings.CutPrefix(endpoint, "unix://")
	if !ok || len(socket) < 2 || socket[0] != '/' || name == "" || strings.ContainsAny(socket, "?#\x00") {
		return nil, fmt.Errorf("%w: want kms:unix:///PATH or kms:NAME@unix:///PATH", ErrKEK)
	}
	if strings.HasPrefix(socket, "/@") {
		socket = socket[1:]
	}
	return kmsKEK{name: name, socket: socket, timeout: kmsTimeout}, nil
}

// id names the key by what the operator calls it, and not by what the plugin says:
// its key ID changes with every rotation, and may differ between regions.
func (k kmsKEK) id() string {
	sum := sha256.Sum256(additional("keysteward kms key-encryption key ID", k.name))
	return "kms:" + hex.EncodeToString(sum[:8])
}

func (k kmsKEK) fault(err error) error {
	return fmt.Errorf("%w %s: %w", ErrKEK, k.socket, err)
}

// Check implements KEK: the plugin says that it is well.
func (k kmsKEK) Check(ctx context.Context) error {
	_, err := k.Identify(ctx, "")
	return err
}

// Identify implements KEK. The version is the key ID that the plugin says it
// encrypts with now.
func (k kmsKEK) Identify(ctx context.Context, _ string) (Identity, error) {
	var status *kmsapi.StatusResponse
	err := k.dial(func(client kmsClient) (err error) {
		status, err = client.status(ctx)
		return err
	})
	if err != nil {
		return Identity{}, k.fault(err)
	}
	return Identity{ID: k.id(), Version: status.GetKeyId()}, nil
}

// Wrap implements KEK. What the plugin encrypted is decrypted at once, so that
// nothing is kept that it can not give back.
func (k kmsKEK) Wrap(ctx context.Context, _ string, plaintext, additional []byte) ([]byte, error) {
	key := make([]byte, KeySize)
	defer clear(key)
	_, _ = rand.Read(key) // never fails
	var box kmsEnvelope
	err := k.dial(func(client kmsClient) error {
		if _, err := client.status(ctx); err != nil {
			return err
		}
		answer, err := client.encrypt(ctx, &kmsapi.EncryptRequest{Plaintext: key, Uid: uuid.NewString()})
		if err != nil {
			return err
		}
		box = kmsEnvelope{Version: kmsEnvelopeVersion, Ciphertext: answer.GetCiphertext(), KeyID: answer.GetKeyId(), Annotations: answer.GetAnnotations()}
		again, err := client.decrypt(ctx, box.request())
		if err != nil {
			return fmt.Errorf("what it encrypted just now: %w", err)
		}
		defer clear(again)
		if subtle.ConstantTimeCompare(key, again) != 1 {
			return errKMSForgets
		}
		return nil
	})
	if err != nil {
		return nil, k.fault(err)
	}
	if box.Sealed, err = encrypt(key, plaintext, box.bind(additional)); err != nil {
		return nil, err
	}
	return box.encode()
}

// Unwrap implements KEK. A plugin that refuses to decrypt does not say whether that
// is for good, so its refusal is [ErrKEK]; [ErrOpen] is what fails behind it.
func (k kmsKEK) Unwrap(ctx context.Context, _ string, wrapped, additional []byte) ([]byte, error) {
	box, err := decodeEnvelope(wrapped)
	if err != nil {
		return nil, err
	}
	var key []byte
	err = k.dial(func(client kmsClient) error {
		if _, err := client.status(ctx); err != nil { // a plugin that is not well must not be asked
			return err
		}
		key, err = client.decrypt(ctx, box.request())
		return err
	})
	if err != nil {
		return nil, k.fault(err)
	}
	defer clear(key)
	return decrypt(key, box.Sealed, box.bind(additional))
}
