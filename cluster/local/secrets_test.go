package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/api"
)

func requireMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, want, info.Mode().Perm(), path)
}

func TestFundingAccountIsMadeOnce(t *testing.T) {
	t.Parallel()
	f := &folder{path: t.TempDir()}
	account, err := openFunding(f, "funding")
	require.NoError(t, err)
	requireMode(t, account.Keystore, 0o600)
	requireMode(t, account.Password, 0o600)
	requireMode(t, filepath.Dir(account.Keystore), 0o700)

	raw, err := os.ReadFile(account.Keystore)
	require.NoError(t, err)
	password, err := os.ReadFile(account.Password)
	require.NoError(t, err)
	key, err := keystore.DecryptKey(raw, strings.TrimSpace(string(password)))
	require.NoError(t, err)
	require.Equal(t, account.Address, key.Address)

	again, err := openFunding(f, "funding")
	require.NoError(t, err)
	require.Equal(t, account, again)
}

func TestFundingAccountThatWasKilledHalfway(t *testing.T) {
	t.Parallel()
	f := &folder{path: t.TempDir()}
	account, err := openFunding(f, "funding")
	require.NoError(t, err)
	require.NoError(t, os.Rename(account.Keystore, account.Keystore+".new"), "as if killed before the rename")
	again, err := openFunding(f, "funding")
	require.NoError(t, err)
	require.NotEqual(t, account.Address, again.Address)

	require.NoError(t, os.WriteFile(account.Keystore, []byte("{"), 0o600))
	_, err = openFunding(f, "funding")
	require.ErrorContains(t, err, account.Keystore)
}

func TestTokensAreMintedOnceAndServersKnowThem(t *testing.T) {
	t.Parallel()
	f := &folder{path: t.TempDir()}
	files, err := openTokens(f)
	require.NoError(t, err)
	again, err := openTokens(f)
	require.NoError(t, err)
	require.Equal(t, files, again)

	known, err := api.OpenTokens(files.Hashes, nil)
	require.NoError(t, err)
	seen := map[string]bool{}
	for path, role := range map[string]api.Role{
		files.Admin: api.RoleAdmin, files.Operator: api.RoleOperator, files.Viewer: api.RoleViewer,
	} {
		requireMode(t, path, 0o600)
		token, err := os.ReadFile(path)
		require.NoError(t, err)
		caller, found := known.Lookup(strings.TrimSpace(string(token)))
		require.True(t, found, path)
		require.Equal(t, role, caller.Role)
		require.False(t, seen[string(token)], "a token of its own for each role")
		seen[string(token)] = true
		hashes, err := os.ReadFile(files.Hashes)
		require.NoError(t, err)
		require.NotContains(t, string(hashes), strings.TrimSpace(string(token)))
	}
}

func TestLostTokenIsMintedAnew(t *testing.T) {
	t.Parallel()
	f := &folder{path: t.TempDir()}
	files, err := openTokens(f)
	require.NoError(t, err)
	old, err := os.ReadFile(files.Admin)
	require.NoError(t, err)
	require.NoError(t, os.Remove(files.Admin))
	_, err = openTokens(f)
	require.NoError(t, err)

	known, err := api.OpenTokens(files.Hashes, nil)
	require.NoError(t, err)
	_, found := known.Lookup(strings.TrimSpace(string(old)))
	require.False(t, found, "the lost one is void")
	fresh, err := os.ReadFile(files.Admin)
	require.NoError(t, err)
	_, found = known.Lookup(strings.TrimSpace(string(fresh)))
	require.True(t, found)
}

func TestKeepFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "folder", "secret")
	first, err := keepFile(path, randomHex)
	require.NoError(t, err)
	require.Len(t, first, 64)
	requireMode(t, path, 0o600)
	second, err := keepFile(path, func() (string, error) { panic("there is one") })
	require.NoError(t, err)
	require.Equal(t, first, second)
	require.False(t, exists(path+".new"))
	require.Error(t, writeFile(filepath.Join(path, "below a file"), nil))
}
