package client

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/client/clienttest"
)

func TestNewRefusesServers(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, server, says string }{
		{"plain http to another host", "http://10.0.0.1:8080", "plain http"},
		{"plain http to a name", "http://node-1:8080", "plain http"},
		{"no scheme", "node-1:8080", "want https"},
		{"other scheme", "ftp://node-1", "want https"},
		{"no host", "https://", "names no host"},
		{"password", "https://admin:hunter2@node-1", "user name"},
		{"query", "https://node-1?a=b", "query"},
		{"not a URL", "https://node-1:hunter2", "does not parse"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := New(Config{Servers: []string{test.server}})
			require.ErrorIs(t, err, ErrServer)
			require.ErrorContains(t, err, test.says)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
	_, err := New(Config{})
	require.ErrorIs(t, err, ErrServer)
}

func TestNewAcceptsServers(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"https://node-1", "https://10.0.0.1:8443/", "http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", " https://node-1 "} {
		c, err := New(Config{Servers: []string{server}})
		require.NoError(t, err, server)
		c.Close()
	}
}

func TestTokenIsRedacted(t *testing.T) {
	t.Parallel()
	config := Config{Token: "hunter2"}
	encoded, err := json.Marshal(map[string]any{"token": config.Token})
	require.NoError(t, err)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", config.Token)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", config, config, config, config.Token), fmt.Sprintf("%x", config.Token), string(encoded), log.String()} {
		require.NotContains(t, text, "hunter2")
		require.NotContains(t, text, fmt.Sprintf("%x", "hunter2"))
	}
}

func TestReadToken(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, content, want, says string }{
		{"with a line end", "abc\n", "abc", ""},
		{"empty", "\n", "", "is empty"},
		{"two lines", "abc\nhunter2", "", "character 4"},
		{"too long", strings.Repeat("a", maxTokenFile+1), "", "more than"},
		{"not ASCII", "hunter2ä", "", "character 8"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "token")
			require.NoError(t, os.WriteFile(file, []byte(test.content), 0o600))
			token, err := ReadToken(file)
			require.Equal(t, Token(test.want), token)
			if test.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrToken)
			require.ErrorContains(t, err, test.says)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
	_, err := ReadToken(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestTokenFileIsReadAgain(t *testing.T) {
	t.Parallel()
	cluster := clienttest.Start(t, 1)
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("old"), 0o600))
	c, _ := connect(t, cluster, func(config *Config) { config.Token, config.TokenFile = "", file })
	_, err := c.Cluster(t.Context())
	require.True(t, IsType(err, "unauthenticated"), "%v", err)
	require.NoError(t, os.WriteFile(file, []byte(clienttest.Token), 0o600))
	_, err = c.Cluster(t.Context())
	require.NoError(t, err)
	require.NoError(t, os.Remove(file))
	_, err = c.Cluster(t.Context())
	require.ErrorIs(t, err, ErrToken)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	cluster := clienttest.StartTLS(t, 1)

	t.Run("with the authority", func(t *testing.T) {
		t.Parallel()
		c, _ := connect(t, cluster, func(config *Config) { config.CAFile = cluster.CAFile() })
		_, err := c.Cluster(t.Context())
		require.NoError(t, err)
	})
	t.Run("without it nothing is sent and nothing repeated", func(t *testing.T) {
		t.Parallel()
		c, clock := connect(t, cluster)
		_, err := c.Cluster(t.Context())
		require.ErrorContains(t, err, "certificate")
		require.Empty(t, clock.pauses())
	})
	t.Run("plain server behind https", func(t *testing.T) {
		t.Parallel()
		plain := clienttest.Start(t, 1)
		c, clock := connect(t, plain, func(config *Config) {
			config.Servers = []string{strings.Replace(plain.URLs()[0], "http:", "https:", 1)}
		})
		_, err := c.Cluster(t.Context())
		require.ErrorContains(t, err, "does not look like a TLS handshake")
		require.Empty(t, clock.pauses())
	})
	t.Run("unusable file", func(t *testing.T) {
		t.Parallel()
		_, err := New(Config{Servers: []string{"https://a"}, CAFile: filepath.Join(t.TempDir(), "none")})
		require.ErrorIs(t, err, os.ErrNotExist)
		_, err = New(Config{Servers: []string{"https://a"}, CAFile: cluster.TokenFile()})
		require.ErrorContains(t, err, "no PEM")
	})
}
