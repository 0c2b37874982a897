package keystore

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEncryptAllKeepsTheOrder(t *testing.T) {
	t.Parallel()
	keys, options := testKeys(t, 20), cheapOptions()
	options.Password, options.Workers = testPassword(t, "password"), 4
	var reports []int
	options.Progress = func(done int) { reports = append(reports, done) }
	keystores, err := EncryptAll(t.Context(), keys, options)
	require.NoError(t, err)
	require.Len(t, reports, 20)
	salts := map[string]bool{}
	for i, keystore := range keystores {
		require.Equal(t, i+1, reports[i])
		require.Equal(t, keys[i].Path, keystore.Path)
		secret, err := Decrypt(keystore, options.Password)
		require.NoError(t, err)
		require.Equal(t, keys[i].Secret.Bytes(), secret.Bytes())
		salts[keystore.Crypto.KDF.Params.Salt+keystore.Crypto.Cipher.Params.IV+keystore.UUID] = true
	}
	require.Len(t, salts, 20, "every keystore has its own salt")
}

func TestEncryptAllStops(t *testing.T) {
	t.Parallel()
	keys := testKeys(t, 20)
	password := testPassword(t, "password")

	t.Run("when the context ends", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		options := cheapOptions()
		options.Password, options.Workers = password, 1
		last := 0
		options.Progress = func(done int) {
			if last = done; done == 3 {
				cancel()
			}
		}
		_, err := EncryptAll(ctx, keys, options)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, 3, last)
	})
	t.Run("at the first error", func(t *testing.T) {
		t.Parallel()
		options, bad := cheapOptions(), cheap
		bad.C = -1
		options.Password, options.params = password, &bad
		_, err := EncryptAll(t.Context(), keys, options)
		require.ErrorIs(t, err, ErrKeystore)
	})
	t.Run("without randomness", func(t *testing.T) {
		t.Parallel()
		options := cheapOptions()
		options.Password, options.Rand = password, bytes.NewReader(make([]byte, 100))
		_, err := EncryptAll(t.Context(), keys, options)
		require.Error(t, err)
	})
	t.Run("without a password", func(t *testing.T) {
		t.Parallel()
		_, err := EncryptAll(t.Context(), keys, cheapOptions())
		require.ErrorIs(t, err, ErrEmptyPassword)
	})
}

func TestParallelReturnsTheFirstError(t *testing.T) {
	t.Parallel()
	options, err := Options{Workers: 2}.complete()
	require.NoError(t, err)
	first := errors.New("first")
	ran := make([]bool, 100)
	err = parallel(t.Context(), 100, options, func(i int) error {
		ran[i] = true
		if i == 5 {
			return first
		}
		return nil
	})
	require.ErrorIs(t, err, first)
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	options, err := Options{}.complete()
	require.NoError(t, err)
	require.Equal(t, PBKDF2, options.KDF)
	require.Equal(t, 262144, options.params.C)
	options, err = Options{KDF: Scrypt}.complete()
	require.NoError(t, err)
	require.LessOrEqual(t, options.Workers, maxScryptWorkers)
	_, err = Options{KDF: "argon2"}.complete()
	require.ErrorContains(t, err, "pbkdf2, scrypt")
}
