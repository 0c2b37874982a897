package local

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/stretchr/testify/require"
	"github.com/tyler-smith/go-bip39"
)

// secret is something that must not be found, in all the forms in which it could be.
type secret struct {
	name  string
	forms [][]byte
}

// secretBytes is a binary secret: its first 16 bytes and its last, raw, in
// hexadecimal, and in base64 wherever it begins in what was encoded.
func secretBytes(name string, value []byte) secret {
	s := secret{name: name}
	for _, part := range [][]byte{value[:16], value[len(value)-16:]} {
		digits := hex.EncodeToString(part)
		s.forms = append(s.forms, part, []byte(digits), []byte(strings.ToUpper(digits)))
		for shift := range 3 {
			for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
				// Only whole groups of three bytes depend on nothing around them.
				whole := part[(3-shift)%3:]
				s.forms = append(s.forms, []byte(encoding.EncodeToString(whole[:len(whole)/3*3])))
			}
		}
	}
	return s
}

func secretText(name, text string) secret {
	s := secretBytes(name, []byte(text))
	s.forms = append(s.forms, []byte(text))
	return s
}

// foundIn returns whether any form is in the content.
func (s secret) foundIn(content []byte) bool {
	for _, form := range s.forms {
		if bytes.Contains(content, form) {
			return true
		}
	}
	return false
}

func readText(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	return strings.TrimSpace(string(raw))
}

// secretsOf returns every secret of a cluster, without those of validators.
func secretsOf(t *testing.T, dir string) []secret {
	t.Helper()
	words := readText(t, filepath.Join(dir, "mnemonic"))
	entropy, err := bip39.EntropyFromMnemonic(words)
	require.NoError(t, err)
	list := []secret{
		secretText("mnemonic", words),
		secretBytes("entropy of the mnemonic", entropy),
		secretBytes("seed", bip39.NewSeed(words, "")),
	}
	fields := strings.Fields(words)
	require.Len(t, fields, 24)
	for i := range len(fields) - 2 {
		three := fields[i : i+3]
		list = append(list, secret{"words of the mnemonic", [][]byte{[]byte(strings.Join(three, " ")), []byte(strings.Join(three, `","`))}})
	}
	for _, role := range roles {
		token := readText(t, filepath.Join(dir, "tokens", string(role)))
		raw, err := hex.DecodeString(token[len(token)-64:])
		require.NoError(t, err)
		list = append(list, secretText("token of the "+string(role), token), secretBytes("token of the "+string(role), raw))
	}
	kek, err := hex.DecodeString(readText(t, filepath.Join(dir, "kek")))
	require.NoError(t, err)
	password := readText(t, filepath.Join(dir, "funding", "password"))
	account, err := keystore.DecryptKey([]byte(readText(t, filepath.Join(dir, "funding", "keystore.json"))), password)
	require.NoError(t, err)
	return append(list,
		secretBytes("key-encryption key", kek),
		secretText("password of the funding account", password),
		secretBytes("key of the funding account", crypto.FromECDSA(account.PrivateKey)),
	)
}

// requireNoSecrets searches data folders and logs of all nodes, their pages and their
// metrics.
func requireNoSecrets(t *testing.T, l *launched, secrets []secret) {
	t.Helper()
	searched := map[string][]byte{}
	for i, n := range l.file().Nodes {
		require.NoError(t, filepath.WalkDir(filepath.Join(l.dir, nodeName(i)), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			searched[path], err = os.ReadFile(path) //nolint:gosec // nobody else is in a test's folder
			return err
		}))
		for _, path := range []string{"/assignments", "/metrics", "/readyz", "/v1/cluster", "/v1/keys", "/v1/deposits", "/v1/allocations", "/v1/seed", "/"} {
			for _, accept := range []string{"text/html", asJSON, "text/plain"} {
				status, answer := ask(t, http.MethodGet, n.API+path, l.file().AdminTokenFile, accept, nil)
				require.NotZero(t, status)
				searched[n.API+path+" as "+accept] = answer
			}
		}
	}
	for place, content := range searched {
		for _, s := range secrets {
			require.False(t, s.foundIn(content), "the %s is in %s", s.name, place)
		}
	}
	require.NotEmpty(t, searched[filepath.Join(l.dir, "n1", "data", "raft.db")], "the log was searched")
	require.NotEmpty(t, searched[filepath.Join(l.dir, "n1", "log")])
	require.Contains(t, string(searched[l.file().Nodes[0].API+"/assignments as text/html"]), "validator-0")
	require.Contains(t, string(searched[l.file().Nodes[0].API+"/metrics as text/plain"]), "keysteward_")
}

// TestSearchFindsSecrets makes sure that the search above would find something.
func TestSearchFindsSecrets(t *testing.T) {
	t.Parallel()
	value := make([]byte, 48)
	for i := range value {
		value[i] = byte(0xd0 + i*7)
	}
	s := secretBytes("example", value)
	for name, content := range map[string][]byte{
		"raw":         append([]byte("before"), value...),
		"hexadecimal": []byte("0x" + hex.EncodeToString(value)),
		"upper case":  []byte(strings.ToUpper(hex.EncodeToString(value))),
		"first half":  value[:20],
		"second half": value[28:],
	} {
		require.True(t, s.foundIn(content), name)
	}
	for before := range 6 {
		content := append(make([]byte, before), value...)
		require.True(t, s.foundIn([]byte(base64.StdEncoding.EncodeToString(content))), "base64 after %d bytes", before)
		require.True(t, s.foundIn([]byte(base64.URLEncoding.EncodeToString(content))), "base64url after %d bytes", before)
	}
	require.False(t, s.foundIn(make([]byte, 1000)))
	require.True(t, secretText("words", "abandon ability able about").foundIn([]byte(`{"words":"abandon ability able about"}`)))
}
