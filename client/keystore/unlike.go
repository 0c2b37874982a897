package keystore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Unlike tells in what the keystores of a complete folder differ from what a caller
// would have: whether some have another key derivation than kdf, or another password.
// An empty kdf and a zero password are not looked at. Nothing is decrypted. Errors as
// Read.
func Unlike(dir string, kdf KDF, password Password) (otherKDF, otherPassword bool, err error) {
	m, err := readManifest(dir)
	if err != nil {
		return false, false, fmt.Errorf("look at folder %s: %w", dir, err)
	}
	if m == nil {
		return false, false, fmt.Errorf("%w: %s", ErrIncomplete, dir)
	}
	for name := range m.Files {
		full := filepath.Join(dir, filepath.FromSlash(name))
		switch {
		case m.Layout.isPassword(name) && password.given():
			var same bool
			same, err = hasPassword(full, password)
			otherPassword = otherPassword || !same
		case !m.Layout.isPassword(name) && name != prysmOptions && kdf != "":
			var has KDF
			has, err = kdfOf(full)
			otherKDF = otherKDF || has != kdf
		}
		if err != nil {
			return false, false, fmt.Errorf("look at folder %s: %w", dir, err)
		}
	}
	return otherKDF, otherPassword, nil
}

func hasPassword(name string, want Password) (bool, error) {
	has, err := readPassword(name)
	if err != nil {
		return false, err
	}
	defer has.Zero()
	a, b := has.Reveal(), want.Reveal()
	defer clear(a)
	defer clear(b)
	return bytes.Equal(a, b), nil
}

func kdfOf(name string) (KDF, error) {
	raw, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	var file struct { // a keystore, or a wallet of Prysm's
		Crypto Crypto `json:"crypto"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return "", fmt.Errorf("%w: %w", ErrKeystore, err)
	}
	return file.Crypto.KDF.Function, nil
}
