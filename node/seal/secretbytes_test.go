package seal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

func TestSecretBytes(t *testing.T) {
	t.Parallel()
	original := []byte("a secret of some length")
	s := takeSecret(original)
	require.Equal(t, make([]byte, len(original)), original, "the original is zeroed")
	var kept []byte
	require.NoError(t, s.use(func(b []byte) error { kept = bytes.Clone(b); return nil }))
	require.Equal(t, "a secret of some length", string(kept))
	require.ErrorIs(t, s.use(func([]byte) error { return ErrOpen }), ErrOpen)
	s.destroy()
	s.destroy()
	require.ErrorIs(t, s.use(func([]byte) error { return nil }), errDestroyed)
	empty := takeSecret(nil)
	require.NoError(t, empty.use(func(b []byte) error { require.Empty(t, b); return nil }))
	empty.destroy()
}

// Who destroys waits for who reads: nobody ever reads zeroes or pages that are gone.
func TestSecretIsNotDestroyedWhileInUse(t *testing.T) {
	t.Parallel()
	for range 100 {
		secret := bytes.Repeat([]byte{7}, KeySize)
		s := takeSecret(bytes.Clone(secret))
		var g errgroup.Group
		for range 4 {
			g.Go(func() error {
				err := s.use(func(b []byte) error {
					if !bytes.Equal(b, secret) {
						return ErrOpen
					}
					return nil
				})
				if err != nil && err != errDestroyed { //nolint:errorlint // nothing else
					return err
				}
				return nil
			})
		}
		g.Go(func() error { s.destroy(); return nil })
		require.NoError(t, g.Wait())
	}
}

// Every way to print the types of this package that hold secrets.
func TestSecretsPrintAsRedacted(t *testing.T) {
	t.Parallel()
	const secret = "correct horse battery staple 42!"
	phrase := parsed(t, "passphrase:"+kekFile(t, secret, 0o600)).(passphraseKEK) //nolint:forcetypeassert // it is
	_, err := phrase.Identify(t.Context(), testCluster)
	require.NoError(t, err)
	var derived []byte
	require.NoError(t, phrase.cache.wrap.use(func(b []byte) error { derived = bytes.Clone(b); return nil }))
	ring := &Keyring{current: 1, keys: dataKeys{1: takeSecret([]byte(secret))}}
	taken := takeSecret([]byte(secret))
	for name, c := range map[string]struct {
		value  any
		secret []byte
	}{
		"secretBytes":   {taken, []byte(secret)},
		"by value":      {*taken, []byte(secret)},
		"within":        {struct{ S *secretBytes }{taken}, []byte(secret)},
		"Keyring":       {ring, []byte(secret)},
		"Keyring value": {*ring, []byte(secret)},
		"data keys":     {ring.keys, []byte(secret)},
		"rooted":        {&rooted{Keyring: *ring, root: []byte(secret)}, []byte(secret)},
		"rooted value":  {rooted{Keyring: *ring, root: []byte(secret)}, []byte(secret)},
		"passphrase":    {phrase, derived},
		"file":          {kekOf(t, keyOf("a")), bytes.Repeat([]byte{0xaa}, KeySize)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%d", "%q"} {
				saysNone(t, fmt.Sprintf(verb, c.value), c.secret)
			}
			for _, handler := range []func(*bytes.Buffer) slog.Handler{
				func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
				func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
			} {
				var b bytes.Buffer
				slog.New(handler(&b)).Info("x", "value", c.value, "within", []any{c.value})
				saysNone(t, b.String(), c.secret)
			}
			if b, err := json.Marshal(c.value); err == nil {
				saysNone(t, string(b), c.secret)
			}
		})
	}
}

// saysNone looks for a secret in a text, also as fmt prints bytes.
func saysNone(t *testing.T, text string, secret []byte) {
	t.Helper()
	saysNothing(t, fmt.Errorf("%s", text), secret) //nolint:err113 // any error will do: what is checked is how it prints the secret is for errors
	decimal := fmt.Sprintf("%d", secret)
	require.NotContains(t, text, decimal[1:len(decimal)-1])
	require.NotContains(t, text, fmt.Sprintf("%#v", secret)[len("[]byte{"):20])
}
