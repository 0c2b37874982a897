package keystore

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestPasswordNormalisation(t *testing.T) {
	t.Parallel()
	for name, check := range map[string]struct{ text, want string }{
		"plain":            {"password", "password"},
		"the EIP's vector": {vectorPassword, "testpassword🔑"},
		"composed":         {"\u00e9", "e\u0301"},
		"compatibility":    {"\ufb01", "fi"},
		"C0":               {"a\x00b\x1fc\td", "abcd"},
		"delete":           {"a\x7fb", "ab"},
		"C1":               {"a\u0080b\u009fc", "abc"},
		"space stays":      {" a b ", " a b "},
		"line ends":        {"password\r\n", "password"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, check.want, string(testPassword(t, check.text).normalised()))
		})
	}
}

func TestPasswordRefusals(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "\n", "\x00\x01", "\u0085\r\n"} {
		_, err := NewPassword([]byte(text))
		require.ErrorIs(t, err, ErrEmptyPassword, "%q", text)
	}
	_, err := NewPassword([]byte("\xff"))
	require.Error(t, err)
}

func TestPasswordKeepsItsText(t *testing.T) {
	t.Parallel()
	raw := []byte("two words\n")
	password, err := NewPassword(raw)
	require.NoError(t, err)
	clear(raw)
	require.Equal(t, "two words", string(password.Reveal()), "no line end in a password file")
	clear(password.Reveal())
	require.Equal(t, "two words", string(password.Reveal()))
	password.Zero()
	require.Equal(t, make([]byte, 9), password.Reveal())
	require.Nil(t, Password{}.Reveal())
}

func TestRandomPasswords(t *testing.T) {
	t.Parallel()
	first, err := RandomPassword(rand.Reader)
	require.NoError(t, err)
	second, err := RandomPassword(rand.Reader)
	require.NoError(t, err)
	require.NotEqual(t, first.Reveal(), second.Reveal())
	raw, err := hex.DecodeString(string(first.Reveal()))
	require.NoError(t, err)
	require.Len(t, raw, 32)
	_, err = RandomPassword(bytes.NewReader(make([]byte, 31)))
	require.Error(t, err)
}

func TestPasswordsPrintAsRedacted(t *testing.T) {
	t.Parallel()
	password := testPassword(t, "hunter2")
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("text", "password", password, "options", Options{Password: password})
	encoded, err := json.Marshal(map[string]any{"password": password})
	require.NoError(t, err)
	require.JSONEq(t, `{"password": "[redacted]"}`, string(encoded))
	hidden := struct{ password Password }{password}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		require.Equal(t, "[redacted]", fmt.Sprintf(verb, password))
		_, _ = fmt.Fprintf(&log, verb+verb, hidden, Options{Password: password})
	}
	for _, form := range []string{"hunter2", hex.EncodeToString([]byte("hunter2")), "104 117 110"} {
		require.NotContains(t, log.String(), form)
	}
}

func TestNormalisationIsIdempotent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.String().Draw(rt, "password")
		password, err := NewPassword([]byte(text))
		if err != nil {
			return
		}
		once := password.normalised()
		again, err := NewPassword(once)
		require.NoError(rt, err)
		require.Equal(rt, string(once), string(again.normalised()))
	})
}
