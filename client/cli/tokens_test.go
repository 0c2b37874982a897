package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/keysteward/keysteward/api/wire"
	"github.com/keysteward/keysteward/client/clienttest"
)

func listed(t *testing.T, sh shell) []wire.Token {
	t.Helper()
	got := sh.run(t, "tokens", "list", "-o", "json")
	require.Zero(t, got.code, got.err)
	var list wire.TokenList
	require.NoError(t, json.Unmarshal([]byte(got.out), &list))
	return list.Tokens
}

func TestTokensComeAndGo(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	sh := at(cluster)
	got := sh.run(t, "tokens", "create", "ci", "--role", "operator", "--namespace", "a,b", "--project", "p", "--expires-in", "30d")
	require.Zero(t, got.code, got.err)
	require.Regexp(t, `^kst_[0-9a-f]{64}\n$`, got.out, "the token and nothing else")
	token := strings.TrimSpace(got.out)
	hash := sha256.Sum256([]byte(token))
	id := hex.EncodeToString(hash[:8])
	require.Contains(t, got.err, "token "+id+" of ci with the role operator, limited to the namespaces a, b, limited to the projects p; it expires at 20")
	require.NotContains(t, got.err, token)
	for _, r := range cluster.Requests() {
		require.NotContains(t, r.Path+r.Query+r.Authorization, token[4:])
	}

	tokens := listed(t, sh)
	require.Len(t, tokens, 1)
	require.Equal(t, []string{"a", "b"}, tokens[0].Namespaces)
	require.Equal(t, []string{"p"}, tokens[0].Projects)
	require.WithinDuration(t, time.Now().AddDate(0, 0, 30), tokens[0].Expires, 2*time.Hour)

	got = sh.run(t, "tokens", "list")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, id+"  ci    operator  a,b         p         20")
	require.Contains(t, got.out, "1 token; those of the servers' --token-hashes are not listed")

	got = sh.run(t, "tokens", "revoke", id)
	require.Zero(t, got.code, got.err)
	require.Equal(t, "token "+id+" is revoked\n", got.out)
	require.Empty(t, listed(t, sh))
	got = sh.run(t, "tokens", "revoke", id)
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "not-found")
}

func TestTokenGoesToAFile(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	sh := at(cluster)
	file := filepath.Join(t.TempDir(), "token")
	got := sh.run(t, "tokens", "create", "root", "--role", "admin", "--out", file, "--expires-in", "0")
	require.Zero(t, got.code, got.err)
	require.Empty(t, got.out)
	require.Contains(t, got.err, "it never expires")
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Regexp(t, `^kst_[0-9a-f]{64}\n$`, string(text))

	got = sh.run(t, "tokens", "create", "root", "--role", "admin", "--out", file)
	require.Equal(t, ExitFailure, got.code, "no file is overwritten")
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, text, after)
	require.Len(t, listed(t, sh), 1)

	cluster.Intercept = refuse(403, "forbidden", "you may not")
	file += "2"
	got = sh.run(t, "tokens", "create", "root", "--role", "admin", "--out", file)
	require.Equal(t, ExitFailure, got.code)
	require.NoFileExists(t, file, "a token that lets nobody in is not kept")
}

func TestTokenAsJSONAndYAML(t *testing.T) {
	t.Parallel()
	sh := at(clienttest.Start(t, 1))
	for _, form := range []string{"json", "yaml"} {
		got := sh.run(t, "tokens", "create", "ci", "--role", "viewer", "-o", form)
		require.Zero(t, got.code, got.err)
		var made mintedToken
		require.NoError(t, yaml.UnmarshalStrict([]byte(got.out), &made))
		hash := sha256.Sum256([]byte(made.Secret))
		require.Equal(t, hex.EncodeToString(hash[:8]), made.ID)
		require.WithinDuration(t, time.Now().Add(90*24*time.Hour), made.Expires, time.Minute, "without --expires-in it ends")
	}
	got := sh.run(t, "tokens", "create", "ci", "--role", "viewer", "-o", "json", "--out", filepath.Join(t.TempDir(), "token"))
	require.Zero(t, got.code, got.err)
	require.NotContains(t, got.out, "kst_", "it is in the file")
}

func TestTokensAskNobodyAboutMistakes(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	for _, args := range [][]string{
		{"create"},
		{"create", "ci"},
		{"create", "ci", "--role", "root"},
		{"create", "ci", "--role", "pod"},
		{"create", "a", "b", "--role", "admin"},
		{"create", "ci", "--role", "admin", "--namespace", ""},
		{"create", "ci", "--role", "admin", "--expires-in", "soon"},
		{"create", "ci", "--role", "admin", "--expires-in", "-1h"},
		{"create", "ci", "--role", "admin", "--expires-in", "5s"},
		{"create", "ci", "--role", "admin", "--expires-in", "d"},
		{"create", "ci", "--role", "admin", "--expires-in", "2000000h0d"},
		{"create", "ci", "--role", "admin", "--expires-in", "9999999d"},
		{"revoke"},
		{"revoke", "a", "b"},
		{"revoke", "kst_" + zeros(64)},
		{"list", "x"},
		{"list", "-o", "xml"},
	} {
		got := at(cluster).run(t, append([]string{"tokens"}, args...)...)
		require.Equal(t, ExitUsage, got.code, "%v: %s", args, got.err)
		require.Empty(t, got.out)
	}
	require.Empty(t, cluster.Requests())
}
