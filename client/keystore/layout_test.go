package keystore

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNames(t *testing.T) {
	t.Parallel()
	for _, layout := range Layouts() {
		parsed, err := ParseLayout(string(layout))
		require.NoError(t, err)
		require.Equal(t, layout, parsed)
	}
	for _, name := range []string{"", "Teku", "grandine"} {
		_, err := ParseLayout(name)
		require.ErrorContains(t, err, "lighthouse, lodestar, nimbus, teku, prysm")
		_, err = ParseKDF(name)
		require.ErrorContains(t, err, "pbkdf2, scrypt")
	}
}

// golden are the trees that validator clients expect; A and B are public keys.
var golden = map[Layout]string{
	Lighthouse: `
-rw------- .keysteward-manifest
drwx------ secrets
-rw------- secrets/A
-rw------- secrets/B
drwx------ validators
drwx------ validators/A
-rw------- validators/A/voting-keystore.json
drwx------ validators/B
-rw------- validators/B/voting-keystore.json`,
	Lodestar: `
-rw------- .keysteward-manifest
drwx------ keystores
drwx------ keystores/A
-rw------- keystores/A/voting-keystore.json
drwx------ keystores/B
-rw------- keystores/B/voting-keystore.json
drwx------ secrets
-rw------- secrets/A
-rw------- secrets/B`,
	Nimbus: `
-rw------- .keysteward-manifest
drwx------ secrets
-rw------- secrets/A
-rw------- secrets/B
drwx------ validators
drwx------ validators/A
-rw------- validators/A/keystore.json
drwx------ validators/B
-rw------- validators/B/keystore.json`,
	Teku: `
-rw------- .keysteward-manifest
-rw------- A.json
-rw------- A.txt
-rw------- B.json
-rw------- B.txt`,
	Prysm: `
-rw------- .keysteward-manifest
drwx------ wallet
drwx------ wallet/direct
drwx------ wallet/direct/accounts
-rw------- wallet/direct/accounts/all-accounts.keystore.json
-rw------- wallet/direct/keymanageropts.json
-rw------- wallet-password`,
}

func requireGolden(t *testing.T, dir string, layout Layout, keys []Key) {
	t.Helper()
	names := publicKeys(keys)
	require.Len(t, names, 2)
	text := strings.NewReplacer("/A", "/"+names[0], " A", " "+names[0], "/B", "/"+names[1], " B", " "+names[1]).Replace(golden[layout])
	require.Equal(t, strings.Split(strings.TrimSpace(text), "\n"), tree(t, dir))
}

func TestTrees(t *testing.T) {
	t.Parallel()
	forEachLayout(t, func(t *testing.T, layout Layout) {
		t.Helper()
		dir, keys := filepath.Join(t.TempDir(), "deep", "out"), testKeys(t, 2)
		options := cheapOptions()
		options.disk = nil // the real one, with its syncs
		result, err := Write(t.Context(), dir, layout, keys, options)
		require.NoError(t, err)
		require.Equal(t, Result{Written: 2}, result)
		requireGolden(t, dir, layout, keys)
		requireHolds(t, dir, keys)
		for _, made := range []string{dir, filepath.Dir(dir)} {
			info, err := os.Stat(made)
			require.NoError(t, err)
			require.Equal(t, folderMode, info.Mode().Perm())
		}
	})
}

func TestPasswordFilesHaveNoLineEnd(t *testing.T) {
	t.Parallel()
	forEachLayout(t, func(t *testing.T, layout Layout) {
		t.Helper()
		dir, keys := t.TempDir(), testKeys(t, 1)
		options := cheapOptions()
		options.Password = testPassword(t, "from a file\n")
		_, err := Write(t.Context(), dir, layout, keys, options)
		require.NoError(t, err)
		name := prysmPassword
		if layout != Prysm {
			name = schemes[layout].passwordPath(keys[0].Secret.PublicKey())
		}
		raw, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, "from a file", string(raw))
		requireHolds(t, dir, keys)
	})
}

// What Prysm's local keymanager expects to find.
func TestPrysmWallet(t *testing.T) {
	t.Parallel()
	dir, keys := t.TempDir(), testKeys(t, 3)
	mustWrite(t, dir, Prysm, keys)
	raw, err := os.ReadFile(filepath.Join(dir, prysmOptions))
	require.NoError(t, err)
	require.JSONEq(t, `{"direct_eip_version": "EIP-2335"}`, string(raw))

	raw, err = os.ReadFile(filepath.Join(dir, prysmAccounts))
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(raw, &fields))
	require.ElementsMatch(t, []string{"crypto", "uuid", "version", "name"}, mapKeys(fields))
	password, err := readPassword(filepath.Join(dir, prysmPassword))
	require.NoError(t, err)
	var file prysmKeystore
	require.NoError(t, json.Unmarshal(raw, &file))
	plaintext, err := file.Crypto.reveal(password)
	require.NoError(t, err)
	var lists map[string][][]byte
	require.NoError(t, json.Unmarshal(plaintext, &lists), "lists of base64")
	require.Len(t, lists["private_keys"], 3)
	require.Len(t, lists["public_keys"], 3)

	_, err = decryptPrysm(raw, testPassword(t, "another"))
	require.ErrorIs(t, err, ErrPassword)
	_, err = decryptPrysm([]byte("{"), password)
	require.ErrorIs(t, err, ErrKeystore)
}

func TestPrysmWalletWithMixedUpKeys(t *testing.T) {
	t.Parallel()
	keys, password := testKeys(t, 2), testPassword(t, "password")
	public := keys[1].Secret.PublicKey()
	for name, check := range map[string]struct {
		keys prysmKeys
		want error
	}{
		"another's public key": {prysmKeys{[][]byte{keys[0].Secret.Bytes()}, [][]byte{public[:]}}, ErrPublicKeyMismatch},
		"one list is longer":   {prysmKeys{[][]byte{keys[0].Secret.Bytes()}, nil}, ErrKeystore},
		"no secret":            {prysmKeys{[][]byte{{1, 2, 3}}, [][]byte{public[:]}}, ErrKeystore},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plaintext, err := json.Marshal(check.keys)
			require.NoError(t, err)
			crypto, err := conceal(plaintext, password, kdfModule{Function: PBKDF2, Params: cheap}, [16]byte{})
			require.NoError(t, err)
			raw, err := json.Marshal(prysmKeystore{Crypto: crypto, Version: version})
			require.NoError(t, err)
			_, err = decryptPrysm(raw, password)
			require.ErrorIs(t, err, check.want)
		})
	}
}

func mapKeys(m map[string]any) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	return names
}
