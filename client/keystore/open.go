package keystore

import (
	"context"
	"fmt"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// Opened is what became of a keystore that was found.
type Opened struct {
	// File is the keystore's file.
	File string
	// Keys are the one of an EIP-2335 keystore, or those of a wallet. Each public
	// key was derived from its secret, which is the caller's to Zero.
	Keys []Entry
	// Err is why there are none: the errors of Decrypt, ErrNoPassword, or what is
	// wrong with the password file.
	Err error
}

// OpenAll decrypts keystores in parallel, in their order, each with its own
// password file or, if common is not the zero value, all with that. Of the options
// Workers and Progress count. A keystore that does not open stops no other; the
// error is only the context's, and nothing is returned beside it.
func OpenAll(ctx context.Context, found []Found, common Password, options Options) ([]Opened, error) {
	for _, one := range found {
		if one.function() == Scrypt {
			options.KDF = Scrypt // memory for the dearer function
		}
	}
	options, err := options.complete()
	if err != nil {
		return nil, err
	}
	opened := make([]Opened, len(found))
	err = parallel(ctx, len(found), options, func(i int) error {
		opened[i] = Opened{File: found[i].File}
		opened[i].Keys, opened[i].Err = found[i].open(common)
		return nil
	})
	if err != nil {
		for _, one := range opened {
			one.zero()
		}
		return nil, fmt.Errorf("decrypt keystores: %w", err)
	}
	return opened, nil
}

func (o Opened) zero() {
	for _, key := range o.Keys {
		key.Secret.Zero()
	}
}

// function is the key derivation that the file asks for; a wallet may ask for any.
func (f Found) function() KDF {
	if f.wallet != nil {
		return Scrypt
	}
	return f.keystore.Crypto.KDF.Function
}

func (f Found) open(password Password) ([]Entry, error) {
	if !password.given() {
		if f.PasswordFile == "" {
			return nil, ErrNoPassword
		}
		var err error
		if password, err = readPassword(f.PasswordFile); err != nil {
			return nil, err
		}
		defer password.Zero()
	}
	if f.wallet == nil {
		secret, err := Decrypt(f.keystore, password)
		if err != nil {
			return nil, err
		}
		return []Entry{{PublicKey: secret.PublicKey(), Secret: secret, Path: f.keystore.Path, File: f.File}}, nil
	}
	secrets, err := decryptPrysm(f.wallet, password)
	if err != nil {
		return nil, err
	}
	return f.entries(secrets), nil
}

func (f Found) entries(secrets []*validator.SecretKey) []Entry {
	entries := make([]Entry, len(secrets))
	for i, secret := range secrets {
		entries[i] = Entry{PublicKey: secret.PublicKey(), Secret: secret, File: f.File}
	}
	return entries
}
