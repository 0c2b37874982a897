package keystore

import (
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// Prysm keeps all keys of a wallet in one file, encrypted as one text.
const (
	prysmWallet   = "wallet"
	prysmPassword = "wallet-password" // a file name, not a password
	prysmAccounts = "wallet/direct/accounts/all-accounts.keystore.json"
	prysmOptions  = "wallet/direct/keymanageropts.json"

	prysmOptionsText = `{"direct_eip_version": "EIP-2335"}`
)

// prysmKeystore is the file of all accounts.
type prysmKeystore struct {
	Crypto  Crypto `json:"crypto"`
	UUID    string `json:"uuid"`
	Version int    `json:"version"`
	Name    string `json:"name"`
}

// prysmKeys is its plaintext; encoding/json writes []byte in base64.
type prysmKeys struct {
	PrivateKeys [][]byte `json:"private_keys"`
	PublicKeys  [][]byte `json:"public_keys"`
}

func (k prysmKeys) zero() {
	for _, secret := range k.PrivateKeys {
		clear(secret)
	}
}

// encryptPrysm makes the file of all accounts.
func encryptPrysm(keys []Key, options Options) ([]byte, error) {
	var all prysmKeys
	defer func() { all.zero() }()
	for _, key := range keys {
		public := key.name()
		all.PrivateKeys = append(all.PrivateKeys, key.Secret.Bytes())
		all.PublicKeys = append(all.PublicKeys, public[:])
	}
	plaintext, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("encode the wallet: %w", err)
	}
	defer clear(plaintext)
	drawn, err := draw(options.Rand)
	if err != nil {
		return nil, err
	}
	params := *options.params
	params.Salt = hex.EncodeToString(drawn.salt[:])
	crypto, err := conceal(plaintext, options.Password, kdfModule{Function: options.KDF, Params: params}, drawn.iv)
	if err != nil {
		return nil, fmt.Errorf("encrypt the wallet: %w", err)
	}
	options.Progress(len(keys))
	return json.Marshal(prysmKeystore{Crypto: crypto, UUID: drawn.uuid.String(), Version: version, Name: "keystore"})
}

// decryptPrysm returns the keys of the file of all accounts; each must be the one
// of the public key beside it.
func decryptPrysm(raw []byte, password Password) ([]*validator.SecretKey, error) {
	var file prysmKeystore
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeystore, err)
	}
	plaintext, err := file.Crypto.reveal(password)
	if err != nil {
		return nil, fmt.Errorf("decrypt the wallet: %w", err)
	}
	defer clear(plaintext)
	var all prysmKeys
	defer func() { all.zero() }()
	if err := json.Unmarshal(plaintext, &all); err != nil || len(all.PrivateKeys) != len(all.PublicKeys) {
		return nil, fmt.Errorf("%w: the wallet's text is not a list of key pairs", ErrKeystore)
	}
	secrets := make([]*validator.SecretKey, len(all.PrivateKeys))
	for i, raw := range all.PrivateKeys {
		if secrets[i], err = validator.SecretKeyFromBytes(raw); err != nil {
			return nil, fmt.Errorf("%w: key %d of the wallet: %w", ErrKeystore, i, err)
		}
		if public := secrets[i].PublicKey(); string(public[:]) != string(all.PublicKeys[i]) {
			return nil, fmt.Errorf("%w: key %d of the wallet", ErrPublicKeyMismatch, i)
		}
	}
	return secrets, nil
}
