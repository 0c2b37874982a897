package seal

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

const testPhrase = "correct horse battery staple"

// everyKind is one usable key of each kind, with the secret that no error may name.
func everyKind(t testing.TB) map[string]struct {
	kek    KEK
	secret string
} {
	t.Helper()
	tpm, _ := newSoftTPM(t)
	plugin := startPlugin(t)
	return map[string]struct {
		kek    KEK
		secret string
	}{
		"file":       {kekOf(t, keyOf("a")), keyOf("a")},
		"passphrase": {parsed(t, "passphrase:"+kekFile(t, testPhrase+"\n", 0o640)), testPhrase},
		"tpm":        {tpm, "nothing to leak"},
		"kms":        {plugin.kek(), hex.EncodeToString(plugin.state.Keys["one"])},
	}
}

// bound is the additional data that the keyring binds a wrap to.
func bound(clusterID, id string) []byte { return additional("root-key", clusterID, id) }

// What every kind of key-encryption key promises.
func TestContractOfEveryKind(t *testing.T) {
	t.Parallel()
	for kind, c := range everyKind(t) {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			require.NoError(t, c.kek.Check(ctx))
			identity, err := c.kek.Identify(ctx, testCluster)
			require.NoError(t, err)
			require.Equal(t, kind, identity.Kind())
			require.Regexp(t, `^[a-z]+:[0-9a-f]{16,64}$`, identity.ID)
			again, err := c.kek.Identify(ctx, testCluster)
			require.NoError(t, err)
			require.Equal(t, identity, again)

			root := randomKey()
			wrapped, err := c.kek.Wrap(ctx, testCluster, root, bound(testCluster, identity.ID))
			require.NoError(t, err)
			require.NotContains(t, string(wrapped), string(root))
			plain, err := c.kek.Unwrap(ctx, testCluster, wrapped, bound(testCluster, identity.ID))
			require.NoError(t, err)
			require.Equal(t, root, plain)
			second, err := c.kek.Wrap(ctx, testCluster, root, bound(testCluster, identity.ID))
			require.NoError(t, err)
			require.NotEqual(t, wrapped, second, "the same ciphertext tells that the root key is the same")

			for name, id := range map[string]struct{ cluster, id string }{
				"other cluster": {"facade", identity.ID}, "other key's place": {testCluster, "file:0"},
			} {
				_, err = c.kek.Unwrap(ctx, id.cluster, wrapped, bound(id.cluster, id.id))
				require.ErrorIs(t, err, ErrOpen, name)
				saysNothing(t, err, root, []byte(c.secret))
			}
			refusesAltered(t, c.kek, wrapped, bound(testCluster, identity.ID))
			endsWithContext(t, c.kek, kind, wrapped)
			bearsMany(t, c.kek, wrapped, root, bound(testCluster, identity.ID))
		})
	}
}

// One keyring for all kinds at once: each opens it alone, and a TPM that was not there
// at the founding is wrapped for from its public part.
func TestKeyringOfAllKinds(t *testing.T) {
	t.Parallel()
	kinds := everyKind(t)
	keks := make([]KEK, 0, len(kinds))
	for _, c := range kinds {
		keks = append(keks, c.kek)
	}
	encoded, err := NewKeyring(t.Context(), testCluster, keks...)
	require.NoError(t, err)
	late, _ := newSoftTPM(t)
	_, err = openRooted(t.Context(), testCluster, encoded, []KEK{late})
	require.ErrorIs(t, err, ErrNotWrapped)
	first, err := openRooted(t.Context(), testCluster, encoded, keks[:1])
	require.NoError(t, err)
	require.NoError(t, first.wrapFor(identityOf(t, late)))
	extended, err := first.encode()
	require.NoError(t, err)
	for _, kek := range append(keks, late) {
		r, err := openRooted(t.Context(), testCluster, extended, []KEK{kek})
		require.NoError(t, err)
		require.Equal(t, first.root, r.root)
		_, err = openRooted(t.Context(), "facade", extended, []KEK{kek})
		require.Error(t, err, "another cluster")
	}
}

// What each kind costs: go test -bench OfEveryKind.
func BenchmarkUnwrapOfEveryKind(b *testing.B) {
	for kind, c := range everyKind(b) {
		wrapped, err := c.kek.Wrap(b.Context(), testCluster, randomKey(), nil)
		require.NoError(b, err)
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				_, err := c.kek.Unwrap(b.Context(), testCluster, wrapped, nil)
				require.NoError(b, err)
			}
		})
	}
	b.Run("passphrase anew", func(b *testing.B) {
		path := kekFile(b, testPhrase, 0o600)
		for b.Loop() {
			_, err := parsed(b, "passphrase:"+path).Identify(b.Context(), testCluster)
			require.NoError(b, err)
		}
	})
}

// saysNothing looks for the secrets in an error, raw, in hex and in base64.
func saysNothing(t *testing.T, err error, secrets ...[]byte) {
	t.Helper()
	for _, s := range secrets {
		for _, form := range []string{string(s), hex.EncodeToString(s), base64.StdEncoding.EncodeToString(s)} {
			require.NotContains(t, strings.ToLower(err.Error()), strings.ToLower(form))
		}
	}
}

// Altered anywhere, cut and extended.
func refusesAltered(t *testing.T, kek KEK, wrapped, additional []byte) {
	t.Helper()
	step := max(1, len(wrapped)/24)
	for at := 0; at < len(wrapped); at += step {
		other := bytes.Clone(wrapped)
		other[at] ^= 4
		_, err := kek.Unwrap(t.Context(), testCluster, other, additional)
		require.Error(t, err, "byte %d", at)
		if !strings.HasPrefix(string(wrapped), "{") { // a plugin's refusal may have other reasons
			require.ErrorIs(t, err, ErrOpen, "byte %d", at)
		}
	}
	for _, other := range [][]byte{nil, {}, wrapped[:1], wrapped[:len(wrapped)-1], append(bytes.Clone(wrapped), 0)} {
		_, err := kek.Unwrap(t.Context(), testCluster, other, additional)
		require.ErrorIs(t, err, ErrOpen, "%d bytes", len(other))
	}
}

// A context that is over ends every use of a key that lies elsewhere or is costly.
func endsWithContext(t *testing.T, kek KEK, kind string, wrapped []byte) {
	t.Helper()
	if kind == "file" {
		return // it is read at once
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := kek.Identify(over, testCluster)
	require.ErrorIs(t, err, ErrKEK)
	require.ErrorIs(t, err, context.Canceled)
	_, err = kek.Wrap(over, testCluster, make([]byte, KeySize), nil)
	require.ErrorIs(t, err, context.Canceled)
	_, err = kek.Unwrap(over, testCluster, wrapped, nil)
	require.ErrorIs(t, err, ErrKEK)
	require.ErrorIs(t, err, context.Canceled)
}

func bearsMany(t *testing.T, kek KEK, wrapped, root, additional []byte) {
	t.Helper()
	g, ctx := errgroup.WithContext(t.Context())
	for range 8 {
		g.Go(func() error {
			plain, err := kek.Unwrap(ctx, testCluster, wrapped, additional)
			if err == nil && !bytes.Equal(plain, root) {
				err = ErrOpen
			}
			return err
		})
	}
	require.NoError(t, g.Wait())
}

func TestDescriptionsThatNameNoKey(t *testing.T) {
	t.Parallel()
	for _, description := range []string{
		"", "file", "file:", "passphrase:", "passphrase:" + testPhrase, "tpm:", "kms:", "vault:x", keyOf("a"),
		"kms:/run/kms.sock", "kms:unix:", "kms:unix:///", "kms:unix://relative", "kms:http://127.0.0.1", "kms:tcp://1.2.3.4:1",
		"kms:@unix:///run/kms.sock", "kms:unix:///run/kms.sock?x", "kms:unix:///run/kms.sock#x",
	} {
		_, err := ParseKEK(description)
		require.ErrorIs(t, err, ErrKEK, description)
		if len(description) > len("kms:unix:///") {
			require.NotContains(t, err.Error(), description)
		}
	}
}
