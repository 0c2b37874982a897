package api

import (
	"crypto/sha256"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func writeTokens(t *testing.T, path string, role Role) string {
	t.Helper()
	token, hash := NewToken()
	text, err := TokenFile("someone", role, hash)
	require.NoError(t, err)
	require.NotContains(t, string(text), token)
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return token
}

func TestNewTokensAreAlwaysOthers(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for range 100 {
		token, hash := NewToken()
		require.Regexp(t, `^kst_[0-9a-f]{64}$`, token)
		require.Regexp(t, `^[0-9a-f]{64}$`, hash)
		require.False(t, seen[token] || seen[hash])
		seen[token], seen[hash] = true, true
	}
}

func TestTokenFilesThatAreRefused(t *testing.T) {
	t.Parallel()
	hash := strings.Repeat("ab", 32)
	entry := `{"name":"a","role":"admin","sha256":"` + hash + `"}`
	for name, text := range map[string]string{
		"empty":          "",
		"array":          "[" + entry + "]",
		"unknown field":  `{"tokens":[],"admins":[]}`,
		"in entry":       `{"tokens":[{"name":"a","role":"admin","sha256":"` + hash + `","expires":1}]}`,
		"trailing":       `{"tokens":[` + entry + `]} x`,
		"role":           `{"tokens":[{"name":"a","role":"root","sha256":"` + hash + `"}]}`,
		"no role":        `{"tokens":[{"name":"a","sha256":"` + hash + `"}]}`,
		"no name":        `{"tokens":[{"name":"","role":"admin","sha256":"` + hash + `"}]}`,
		"short hash":     `{"tokens":[{"name":"a","role":"admin","sha256":"abcd"}]}`,
		"no hash":        `{"tokens":[{"name":"a","role":"admin"}]}`,
		"token in clear": `{"tokens":[{"name":"a","role":"admin","sha256":"kst_` + hash[4:] + `"}]}`,
		"same token":     `{"tokens":[` + entry + `,{"name":"b","role":"viewer","sha256":"` + hash + `"}]}`,
		"same name":      `{"tokens":[` + entry + `,{"name":"a","role":"viewer","sha256":"` + strings.Repeat("cd", 32) + `"}]}`,
	} {
		path := filepath.Join(t.TempDir(), "tokens.json")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := OpenTokens(path, nil)
		require.ErrorIs(t, err, ErrTokens, name)
		require.NotContains(t, err.Error(), hash, name)
	}
	_, err := OpenTokens(filepath.Join(t.TempDir(), "none"), nil)
	require.ErrorIs(t, err, ErrTokens)
}

func TestTokenFileWritableByOthersIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens.json")
	writeTokens(t, path, RoleAdmin)
	for mode, fine := range map[os.FileMode]bool{0o600: true, 0o640: true, 0o644: true, 0o400: true, 0o660: false, 0o602: false, 0o666: false} {
		require.NoError(t, os.Chmod(path, mode))
		_, err := OpenTokens(path, nil)
		require.Equal(t, fine, err == nil, "%o: %v", mode, err)
	}
}

func TestTokenFileIsReadAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "tokens.json")
		first, log := writeTokens(t, path, RoleAdmin), &lockedBuffer{}
		tokens, err := OpenTokens(path, slog.New(slog.NewTextHandler(log, nil)))
		require.NoError(t, err)
		role := func(token string) Role {
			c, _, _ := tokens.lookup(sha256.Sum256([]byte(token)))
			return c.Role
		}
		nextLook := func() { <-time.After(watchedAgain) } // by the bubble's clock
		require.Equal(t, RoleAdmin, role(first))

		require.NoError(t, os.Remove(path))
		second := writeTokens(t, path, RoleViewer)
		require.Equal(t, RoleAdmin, role(first), "the file is looked at once a second at most")
		nextLook()
		require.Empty(t, role(first), "revoked")
		require.Equal(t, RoleViewer, role(second))

		require.NoError(t, os.WriteFile(path, []byte("{"), 0o600))
		nextLook()
		require.Equal(t, RoleViewer, role(second), "an invalid file changes nothing")
		require.NoError(t, os.Chmod(path, 0o666))
		nextLook()
		require.Equal(t, RoleViewer, role(second), "nor does one that is no longer safe")
		require.NoError(t, os.Remove(path))
		require.Equal(t, RoleViewer, role(second))
		nextLook()
		require.Empty(t, role(second), "taken away")
		nextLook()
		require.Empty(t, role(second))
		require.Equal(t, 1, strings.Count(log.String(), "taken away"), "told once")
		require.NoError(t, os.WriteFile(path, []byte("{"), 0o600))
		nextLook()
		require.Empty(t, role(second), "an invalid one brings nothing back")
		require.NoError(t, os.Remove(path))
		third := writeTokens(t, path, RoleOperator)
		nextLook()
		require.Equal(t, RoleOperator, role(third))
		require.Empty(t, role(second))
	})
}

func TestNoTokenFile(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(c *Config) { c.Tokens = nil })
	requireProblem(t, h.get("/v1/cluster"), http.StatusUnauthorized, unauthenticated, "")
	token := bearing(h.state("ada", RoleAdmin, time.Time{}))
	require.Equal(t, http.StatusOK, h.do("", http.MethodGet, "/v1/cluster", "", token).Code)
	_, found := h.server.cfg.Tokens.Lookup("x")
	require.False(t, found)
}
