package keystore

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

const (
	version = 4
	// maxKeystoreSize bounds what Parse reads; a keystore has about a kilobyte.
	maxKeystoreSize = 64 << 10
	secretLength    = 32
)

// Keystore is one encrypted key in the format of EIP-2335, version 4.
type Keystore struct {
	Crypto      Crypto `json:"crypto"`
	Description string `json:"description"`
	// PublicKey is in hexadecimal without 0x. It is not proof: Decrypt compares.
	PublicKey string `json:"pubkey"`
	// Path is the key's EIP-2334 path and may be empty.
	Path    string `json:"path"`
	UUID    string `json:"uuid"`
	Version int    `json:"version"`
}

// Encrypt makes a keystore. It draws salt, initialisation vector and UUID from random.
func Encrypt(secret *validator.SecretKey, password Password, kdf KDF, path string, random io.Reader) (Keystore, error) {
	params, err := standardParams(kdf)
	if err != nil {
		return Keystore{}, err
	}
	drawn, err := draw(random)
	if err != nil {
		return Keystore{}, err
	}
	return encrypt(Key{Secret: secret, Path: path}, password, kdf, params, drawn)
}

// encrypt is Encrypt without randomness of its own and with any parameters.
func encrypt(key Key, password Password, kdf KDF, params kdfParams, drawn drawing) (Keystore, error) {
	public := key.name()
	params.Salt = hex.EncodeToString(drawn.salt[:])
	plaintext := key.Secret.Bytes()
	defer clear(plaintext)
	crypto, err := conceal(plaintext, password, kdfModule{Function: kdf, Params: params}, drawn.iv)
	if err != nil {
		return Keystore{}, fmt.Errorf("encrypt key %s: %w", public, err)
	}
	return Keystore{
		Crypto: crypto, PublicKey: hex.EncodeToString(public[:]),
		Path: key.Path, UUID: drawn.uuid.String(), Version: version,
	}, nil
}

// Decrypt returns the secret of a keystore. Errors: ErrPassword, ErrKeystore, and
// ErrPublicKeyMismatch if the secret is not the one of the public key in the file.
func Decrypt(keystore Keystore, password Password) (*validator.SecretKey, error) {
	if keystore.Version != version {
		return nil, fmt.Errorf("%w: version %d, want %d", ErrKeystore, keystore.Version, version)
	}
	if len(keystore.Crypto.Cipher.Message) != 2*secretLength {
		return nil, fmt.Errorf("%w: its ciphertext has not %d bytes", ErrKeystore, secretLength)
	}
	plaintext, err := keystore.Crypto.reveal(password)
	if err != nil {
		return nil, fmt.Errorf("decrypt keystore of %q: %w", keystore.PublicKey, err)
	}
	defer clear(plaintext)
	secret, err := validator.SecretKeyFromBytes(plaintext)
	if err != nil {
		return nil, fmt.Errorf("%w: keystore of %q: %w", ErrKeystore, keystore.PublicKey, err)
	}
	if keystore.PublicKey == "" { // EIP-2335 leaves it out at will
		return secret, nil
	}
	named, err := validator.ParsePublicKey(keystore.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeystore, err)
	}
	if derived := secret.PublicKey(); derived != named {
		secret.Zero()
		return nil, fmt.Errorf("%w: the file names %s and holds %s", ErrPublicKeyMismatch, named, derived)
	}
	return secret, nil
}

// Parse reads a keystore from JSON. Unknown fields are ignored, since clients add
// some; what the format needs is checked by Decrypt.
func Parse(raw []byte) (Keystore, error) {
	if len(raw) > maxKeystoreSize {
		return Keystore{}, fmt.Errorf("%w: %d bytes, want at most %d", ErrKeystore, len(raw), maxKeystoreSize)
	}
	var keystore Keystore
	if err := json.Unmarshal(raw, &keystore); err != nil {
		return Keystore{}, fmt.Errorf("%w: %w", ErrKeystore, err)
	}
	if keystore.Version != version {
		return Keystore{}, fmt.Errorf("%w: version %d, want %d", ErrKeystore, keystore.Version, version)
	}
	return keystore, nil
}
