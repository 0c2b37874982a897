package wire

import (
	"errors"
	"fmt"
	"iter"
)

// MaxImport is the most keys that one request to /v1/keys/import may bring.
const MaxImport = 1000

// Lengths in bytes of what stands in the plaintext of [SealedKeys].Sealed for
// each key: the compressed BLS public key, then the secret key, big endian.
const (
	importPubkey = 48
	importSecret = 32
	// ImportRecord is the length of both.
	ImportRecord = importPubkey + importSecret
)

// ErrImport says that a plaintext is not a row of keys.
var ErrImport = errors.New("malformed keys to import")

// ImportInfo is the HPKE info for keys on their way to the leader.
func ImportInfo(clusterID string) []byte {
	return lengthPrefixed("keysteward/v1/import-keys", clusterID)
}

// AppendImport adds one key to a plaintext, which the caller clears; where it has
// room for [ImportRecord] bytes more, no copy of it stays behind.
func AppendImport(plaintext []byte, pubkey [importPubkey]byte, secret []byte) ([]byte, error) {
	if len(secret) != importSecret {
		return plaintext, fmt.Errorf("%w: a secret of %d bytes", ErrImport, len(secret))
	}
	return append(append(plaintext, pubkey[:]...), secret...), nil
}

// ImportRecords reads what AppendImport wrote. The public and secret keys that it
// yields are parts of the plaintext and end with it.
func ImportRecords(plaintext []byte) (n int, records iter.Seq2[[importPubkey]byte, []byte], err error) {
	n = len(plaintext) / ImportRecord
	if n == 0 || n > MaxImport || len(plaintext)%ImportRecord != 0 {
		return 0, nil, fmt.Errorf("%w: %d bytes, want %d for each of 1 to %d keys", ErrImport, len(plaintext), ImportRecord, MaxImport)
	}
	return n, func(yield func([importPubkey]byte, []byte) bool) {
		for at := 0; at < len(plaintext); at += ImportRecord {
			record := plaintext[at : at+ImportRecord]
			if !yield([importPubkey]byte(record), record[importPubkey:]) {
				return
			}
		}
	}, nil
}
