package seal

import (
	"context"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func idIn(t *testing.T, kek KEK, clusterID string) string {
	t.Helper()
	identity, err := kek.Identify(t.Context(), clusterID)
	require.NoError(t, err)
	return identity.ID
}

// The derivation can not change unnoticed: a keyring from before would not open.
func TestPassphraseGivesTheSameKeyForEver(t *testing.T) {
	t.Parallel()
	kek := parsed(t, "passphrase:"+kekFile(t, testPhrase, 0o600))
	require.Equal(t, "passphrase:ef47882a012ba64a", idIn(t, kek, testCluster))
	wrapped, err := hex.DecodeString("fa073947ca6dba43c001ff08358e7dac42af3d8c635342ac69a976086832dda37ae7c04f")
	require.NoError(t, err)
	plain, err := kek.Unwrap(t.Context(), testCluster, wrapped, []byte("place"))
	require.NoError(t, err)
	require.Equal(t, "root key", string(plain))
}

// The ID differs with the passphrase and with the cluster, and not with how the line ends.
func TestWhatAPassphraseKeyDependsOn(t *testing.T) {
	t.Parallel()
	path := kekFile(t, testPhrase, 0o600)
	kek := parsed(t, "passphrase:"+path)
	id := idIn(t, kek, testCluster)
	wrapped, err := kek.Wrap(t.Context(), testCluster, []byte("root"), nil)
	require.NoError(t, err)
	for name, text := range map[string]string{"newline": testPhrase + "\n", "from Windows": testPhrase + "\r\n"} {
		require.Equal(t, id, idIn(t, parsed(t, "passphrase:"+kekFile(t, text, 0o600)), testCluster), name)
	}
	require.NotEqual(t, id, idIn(t, kek, "facade"))
	_, err = kek.Unwrap(t.Context(), "facade", wrapped, nil)
	require.ErrorIs(t, err, ErrOpen, "the cluster is in the key itself")

	require.NoError(t, os.WriteFile(path, []byte(testPhrase+"r"), 0o600)) // replaced while running
	require.NotEqual(t, id, idIn(t, kek, testCluster))
	_, err = kek.Unwrap(t.Context(), testCluster, wrapped, nil)
	require.ErrorIs(t, err, ErrOpen, "a wrong passphrase")
	require.NotContains(t, err.Error(), testPhrase)
	require.NoError(t, os.WriteFile(path, []byte(testPhrase), 0o600))
	_, err = kek.Unwrap(t.Context(), testCluster, wrapped, nil)
	require.NoError(t, err)
}

func TestPassphrasesThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"empty":       {"", 0o600, "at least 16 characters"},
		"short":       {"fifteen letters", 0o600, "at least 16 characters"},
		"short runes": {strings.Repeat("ä", 15), 0o600, "at least 16 characters"},
		"newlines":    {"x" + strings.Repeat("\n", 20), 0o600, "at least 16 characters"},
		"two lines":   {testPhrase + "\n" + testPhrase, 0o600, "one line"},
		"bytes":       {testPhrase + "\xff", 0o600, "one line"},
		"for all":     {testPhrase, 0o604, "lets everybody in"},
		"too long":    {strings.Repeat("x", maxFileBytes+1), 0o600, "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kek := parsed(t, "passphrase:"+kekFile(t, c.text, c.mode))
			err := kek.Check(t.Context())
			require.ErrorIs(t, err, ErrKEK)
			require.ErrorContains(t, err, c.want)
			_, err = kek.Identify(t.Context(), testCluster)
			require.ErrorContains(t, err, c.want)
			if c.text != "" {
				require.NotContains(t, err.Error(), c.text)
			}
		})
	}
	kek := parsed(t, "passphrase:"+kekFile(t, testPhrase, 0o600))
	_, err := kek.Identify(t.Context(), "")
	require.ErrorIs(t, err, errNoCluster)
	_, err = parsed(t, "passphrase:/does/not/exist").Identify(t.Context(), testCluster)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorIs(t, err, ErrKEK)
}

// Deriving costs memory: it is done once, and by one at a time, and a wait for
// another's turn ends with the context.
func TestPassphraseIsDerivedOnce(t *testing.T) {
	t.Parallel()
	kek := parsed(t, "passphrase:"+kekFile(t, testPhrase, 0o600)).(passphraseKEK) //nolint:forcetypeassert // it is
	idIn(t, kek, testCluster)
	key := kek.cache.wrap
	for range 3 {
		idIn(t, kek, testCluster)
	}
	require.Same(t, key, kek.cache.wrap)

	kek.busy <- struct{}{} // somebody derives
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	_, err := kek.Identify(ctx, testCluster)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, ErrKEK)
}
