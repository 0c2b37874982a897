package keystore

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUnlike(t *testing.T) {
	t.Parallel()
	for _, layout := range Layouts() {
		t.Run(string(layout), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			options := cheapOptions()
			options.Password = testPassword(t, "first")
			_, err := Write(t.Context(), dir, layout, testKeys(t, 2), options)
			require.NoError(t, err)
			for name, test := range map[string]struct {
				kdf                 KDF
				password            Password
				wantKDF, wantPasswd bool
			}{
				"nothing asked":  {},
				"the same":       {PBKDF2, testPassword(t, "first\n"), false, false},
				"other KDF":      {Scrypt, Password{}, true, false},
				"other password": {"", testPassword(t, "second"), false, true},
				"both":           {Scrypt, testPassword(t, "second"), true, true},
			} {
				otherKDF, otherPassword, err := Unlike(dir, test.kdf, test.password)
				require.NoError(t, err, name)
				require.Equal(t, test.wantKDF, otherKDF, name)
				require.Equal(t, test.wantPasswd, otherPassword, name)
			}
		})
	}
}

func TestUnlikeOfABrokenFolder(t *testing.T) {
	t.Parallel()
	_, _, err := Unlike(t.TempDir(), PBKDF2, Password{})
	require.ErrorIs(t, err, ErrIncomplete)
	dir := t.TempDir()
	keys := testKeys(t, 1)
	_, err = Write(t.Context(), dir, Teku, keys, cheapOptions())
	require.NoError(t, err)
	name := filepath.Join(dir, schemes[Teku].keystorePath(keys[0].name()))
	require.NoError(t, os.WriteFile(name, []byte("{"), fileMode))
	_, _, err = Unlike(dir, PBKDF2, Password{})
	require.ErrorIs(t, err, ErrKeystore)
	require.NoError(t, os.Remove(name))
	_, _, err = Unlike(dir, PBKDF2, Password{})
	require.ErrorIs(t, err, ErrIncomplete)
	require.NoError(t, os.Remove(filepath.Join(dir, schemes[Teku].passwordPath(keys[0].name()))))
	_, _, err = Unlike(dir, "", testPassword(t, "x"))
	require.ErrorIs(t, err, ErrIncomplete)
}

func TestOtherKeysAreToldFromOtherOccupation(t *testing.T) {
	t.Parallel()
	keys := testKeys(t, 3)
	dir := t.TempDir()
	_, err := Write(t.Context(), dir, Teku, keys[:2], cheapOptions())
	require.NoError(t, err)
	_, err = Write(t.Context(), dir, Teku, keys[1:], cheapOptions())
	require.ErrorIs(t, err, ErrOtherKeys)
	require.ErrorIs(t, err, ErrOccupied)
	_, err = Write(t.Context(), dir, Nimbus, keys[:2], cheapOptions())
	require.ErrorIs(t, err, ErrOccupied)
	require.NotErrorIs(t, err, ErrOtherKeys)
	require.NotContains(t, err.Error(), "choose another folder", "the same keys would be in two")
}
