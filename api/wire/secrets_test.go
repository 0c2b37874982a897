package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every way to print what holds secrets, alone, by pointer and within something else.
func TestSecretsPrintAsRedacted(t *testing.T) {
	t.Parallel()
	secret := []byte("validator secret of 32 bytes ..!")
	key := KeySecret{Pubkey: "0xaa", Secret: secret}
	all := AllocationSecrets{Fence: 3, Keys: []KeySecret{key}}
	decimal := fmt.Sprintf("%d", secret)
	forms := []string{
		string(secret), hex.EncodeToString(secret), base64.StdEncoding.EncodeToString(secret),
		decimal[1 : len(decimal)-1], fmt.Sprintf("%X", secret), fmt.Sprintf("%#v", secret[:4])[len("[]byte{"):20],
	}
	for name, value := range map[string]any{
		"key": key, "pointer": &key, "keys": all.Keys, "field": struct{ K KeySecret }{key},
		"all": all, "pointer to all": &all, "field of all": struct{ S *AllocationSecrets }{&all},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var said bytes.Buffer
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d"} {
				fmt.Fprintf(&said, verb, value)
			}
			slog.New(slog.NewTextHandler(&said, nil)).Info("x", "value", value, "within", []any{value})
			slog.New(slog.NewJSONHandler(&said, nil)).Info("x", "value", value, "within", []any{value})
			require.NoError(t, json.NewEncoder(&said).Encode(value))
			for _, form := range forms {
				require.NotContains(t, said.String(), form)
			}
		})
	}
	encoded, err := all.Encode()
	require.NoError(t, err)
	require.JSONEq(t, `{"fence":3,"keys":[{"pubkey":"0xaa","path":"","secret":"`+base64.StdEncoding.EncodeToString(secret)+`"}]}`, string(encoded))
	decoded, err := DecodeSecrets(encoded)
	require.NoError(t, err)
	require.Equal(t, all.Keys[0].Secret, decoded.Keys[0].Secret)
	decoded.Zero()
	require.Equal(t, make([]byte, len(secret)), decoded.Keys[0].Secret)
}
