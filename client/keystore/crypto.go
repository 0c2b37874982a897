package keystore

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
)

const (
	checksumFunction = "sha256"
	cipherFunction   = "aes-128-ctr"
	checksumLength   = sha256.Size
)

// Crypto is the crypto object of EIP-2335: how a key is made of the password, how
// the password is checked, and the ciphertext.
type Crypto struct {
	KDF      kdfModule      `json:"kdf"`
	Checksum checksumModule `json:"checksum"`
	Cipher   cipherModule   `json:"cipher"`
}

type checksumModule struct {
	Function string   `json:"function"`
	Params   struct{} `json:"params"`
	Message  string   `json:"message"`
}

type cipherModule struct {
	Function string       `json:"function"`
	Params   cipherParams `json:"params"`
	Message  string       `json:"message"`
}

type cipherParams struct {
	IV string `json:"iv"`
}

// conceal encrypts a plaintext of any length.
func conceal(plaintext []byte, password Password, kdf kdfModule, iv [aes.BlockSize]byte) (Crypto, error) {
	key, err := kdf.derive(password)
	if err != nil {
		return Crypto{}, err
	}
	defer clear(key)
	ciphertext, err := stream(key, iv[:], plaintext)
	if err != nil {
		return Crypto{}, err
	}
	return Crypto{
		KDF:      kdf,
		Checksum: checksumModule{Function: checksumFunction, Message: hex.EncodeToString(checksum(key, ciphertext))},
		Cipher: cipherModule{
			Function: cipherFunction,
			Params:   cipherParams{IV: hex.EncodeToString(iv[:])},
			Message:  hex.EncodeToString(ciphertext),
		},
	}, nil
}

// reveal decrypts what conceal made. Everything is checked before the key
// derivation; ErrPassword if the checksum differs.
func (c Crypto) reveal(password Password) ([]byte, error) {
	if c.Checksum.Function != checksumFunction || c.Cipher.Function != cipherFunction {
		return nil, fmt.Errorf("%w: unknown functions %q and %q", ErrKeystore, c.Checksum.Function, c.Cipher.Function)
	}
	want, err := hex.DecodeString(c.Checksum.Message)
	if err != nil || len(want) != checksumLength {
		return nil, fmt.Errorf("%w: its checksum is not %d bytes in hexadecimal", ErrKeystore, checksumLength)
	}
	iv, err := hex.DecodeString(c.Cipher.Params.IV)
	if err != nil || len(iv) != aes.BlockSize {
		return nil, fmt.Errorf("%w: its initialisation vector is not %d bytes in hexadecimal", ErrKeystore, aes.BlockSize)
	}
	ciphertext, err := hex.DecodeString(c.Cipher.Message)
	if err != nil {
		return nil, fmt.Errorf("%w: its ciphertext is not hexadecimal", ErrKeystore)
	}
	key, err := c.KDF.derive(password)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	if subtle.ConstantTimeCompare(want, checksum(key, ciphertext)) != 1 {
		return nil, ErrPassword
	}
	return stream(key, iv, ciphertext)
}

// checksum proves the password: SHA-256 of the half of the key that does not
// encrypt, and the ciphertext.
func checksum(key, ciphertext []byte) []byte {
	hash := sha256.New()
	hash.Write(key[16:32])
	hash.Write(ciphertext)
	return hash.Sum(nil)
}

// stream encrypts or decrypts with AES-128 in counter mode.
func stream(key, iv, in []byte) ([]byte, error) {
	block, err := aes.NewCipher(key[:16])
	if err != nil {
		return nil, fmt.Errorf("set up %s: %w", cipherFunction, err)
	}
	out := make([]byte, len(in))
	cipher.NewCTR(block, iv).XORKeyStream(out, in)
	return out, nil
}
