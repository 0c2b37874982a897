package keystore

import (
	"errors"
	"fmt"
)

var (
	// ErrPassword is returned when a keystore's checksum does not fit the password.
	ErrPassword = errors.New("wrong password for the keystore")
	// ErrKeystore is wrapped by errors about a malformed or unsupported keystore,
	// also one whose key derivation would cost too much.
	ErrKeystore = errors.New("malformed keystore")
	// ErrPublicKeyMismatch is returned when a keystore's secret is not the one of the
	// public key that it names.
	ErrPublicKeyMismatch = errors.New("the secret does not belong to the public key")
	// ErrOccupied is wrapped by the errors about a folder with foreign files, other
	// keys or another layout. Nothing in it was touched.
	ErrOccupied = errors.New("folder is occupied")
	// ErrOtherKeys is wrapped, beside ErrOccupied, when a folder of ours holds keys
	// that are not among those to be written. Unless these were chosen by mistake,
	// nobody may sign with the former any more.
	ErrOtherKeys = fmt.Errorf("%w by other keys", ErrOccupied)
	// ErrBusy is returned when another process is writing to the folder.
	ErrBusy = errors.New("another run is writing to the folder")
	// ErrIncomplete is returned by Read for a folder without a complete set of keys.
	ErrIncomplete = errors.New("folder holds no complete set of keys")
)
