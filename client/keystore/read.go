package keystore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// Entry is one key read back from a folder.
type Entry struct {
	// PublicKey was derived from Secret and is the one that the manifest names.
	PublicKey validator.PublicKey
	// Secret is for the caller to Zero.
	Secret *validator.SecretKey
	// Path is the EIP-2334 path in the keystore; Prysm keeps none.
	Path string
	// File is the keystore's file.
	File string
}

// Read decrypts every key of a folder that Write filled, in the order of their
// public keys. ErrIncomplete if the folder has no manifest or not the keys that
// this names; the errors of Decrypt if a keystore is wrong.
func Read(ctx context.Context, dir string) ([]Entry, error) {
	m, err := readManifest(dir)
	if err != nil {
		return nil, fmt.Errorf("read folder %s: %w", dir, err)
	}
	if m == nil {
		return nil, fmt.Errorf("%w: %s", ErrIncomplete, dir)
	}
	if _, err := ParseLayout(string(m.Layout)); err != nil {
		return nil, fmt.Errorf("read folder %s: %w", dir, err)
	}
	if m.Layout == Prysm {
		return readPrysm(dir, m)
	}
	options, err := Options{KDF: Scrypt}.complete() // memory for the dearer function
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, len(m.PublicKeys))
	err = parallel(ctx, len(entries), options, func(i int) error {
		var err error
		entries[i], err = readEntry(dir, schemes[m.Layout], m.PublicKeys[i])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read folder %s: %w", dir, err)
	}
	return entries, nil
}

func readEntry(dir string, s scheme, key validator.PublicKey) (Entry, error) {
	name := filepath.Join(dir, filepath.FromSlash(s.keystorePath(key)))
	raw, err := os.ReadFile(name)
	if err != nil {
		return Entry{}, fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	password, err := readPassword(filepath.Join(dir, filepath.FromSlash(s.passwordPath(key))))
	if err != nil {
		return Entry{}, err
	}
	defer password.Zero()
	keystore, err := Parse(raw)
	if err != nil {
		return Entry{}, fmt.Errorf("%s: %w", name, err)
	}
	secret, err := Decrypt(keystore, password)
	if err != nil {
		return Entry{}, fmt.Errorf("%s: %w", name, err)
	}
	if derived := secret.PublicKey(); derived != key {
		return Entry{}, fmt.Errorf("%w: %s holds %s", ErrPublicKeyMismatch, name, derived)
	}
	return Entry{PublicKey: key, Secret: secret, Path: keystore.Path, File: name}, nil
}

func readPrysm(dir string, m *manifest) ([]Entry, error) {
	name := filepath.Join(dir, filepath.FromSlash(prysmAccounts))
	raw, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	password, err := readPassword(filepath.Join(dir, prysmPassword))
	if err != nil {
		return nil, err
	}
	defer password.Zero()
	secrets, err := decryptPrysm(raw, password)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	entries := make([]Entry, len(secrets))
	public := make([]validator.PublicKey, len(secrets))
	for i, secret := range secrets {
		public[i] = secret.PublicKey()
		entries[i] = Entry{PublicKey: public[i], Secret: secret, File: name}
	}
	if !slices.Equal(public, m.PublicKeys) {
		return nil, fmt.Errorf("%w: %s has other keys than its manifest", ErrIncomplete, name)
	}
	return entries, nil
}

func readPassword(name string) (Password, error) {
	raw, err := os.ReadFile(name)
	if err != nil {
		return Password{}, fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	defer clear(raw)
	password, err := NewPassword(raw)
	if err != nil {
		return Password{}, fmt.Errorf("password file %s: %w", name, err)
	}
	return password, nil
}
