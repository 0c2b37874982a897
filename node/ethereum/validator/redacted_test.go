package validator

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

// Secrets that sit in another structure, in fields that fmt cannot call methods on.
type enclosing struct {
	mnemonic Mnemonic
	seed     *Seed
	seedCopy Seed
	key      *SecretKey
	keyCopy  SecretKey
}

func TestSecretsPrintAsRedacted(t *testing.T) {
	t.Parallel()
	mnemonic, seed := testMnemonic(t), testSeed(t)
	key, err := seed.SigningKey(0)
	require.NoError(t, err)
	for name, secret := range map[string]any{
		"mnemonic": mnemonic, "mnemonic pointer": &mnemonic,
		"seed": seed, "seed value": *seed,
		"key": key, "key value": *key,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d"} {
				require.Equal(t, "[redacted]", fmt.Sprintf(verb, secret), verb)
			}
			encoded, err := json.Marshal(map[string]any{"secret": secret})
			require.NoError(t, err)
			require.JSONEq(t, `{"secret": "[redacted]"}`, string(encoded))
			requireSilent(t, string(encoded), logged(secret))
		})
	}
}

func TestSecretsInsideOthersStayHidden(t *testing.T) {
	t.Parallel()
	mnemonic, seed := testMnemonic(t), testSeed(t)
	key, err := seed.SigningKey(0)
	require.NoError(t, err)
	outer := enclosing{mnemonic: mnemonic, seed: seed, seedCopy: *seed, key: key, keyCopy: *key}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d"} {
		requireSilent(t, fmt.Sprintf(verb, outer), fmt.Sprintf(verb, &outer))
	}
	requireSilent(t, logged(outer))
}

func logged(value any) string {
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("text", "value", value)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "value", value)
	return out.String()
}

// requireSilent searches for the well-known secrets in every form they could take.
func requireSilent(t *testing.T, texts ...string) {
	t.Helper()
	seed := testSeed(t)
	key, err := seed.SigningKey(0)
	require.NoError(t, err)
	for _, text := range texts {
		require.NotContains(t, text, "abandon")
		require.NotContains(t, text, hex.EncodeToString([]byte("abandon")))
		for _, secret := range [][]byte{seed.Bytes()[:8], key.Bytes()[:8]} {
			require.NotContains(t, text, string(secret))
			require.NotContains(t, text, hex.EncodeToString(secret))
			require.NotContains(t, text, fmt.Sprintf("%X", secret))
			require.NotContains(t, text, fmt.Sprintf("%d %d %d", secret[0], secret[1], secret[2]))
		}
	}
}
