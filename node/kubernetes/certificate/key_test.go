package certificate_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/kubernetes/certificate"
)

func TestParseAlgorithm(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]certificate.Algorithm{
		"": certificate.ECDSAP256, "ECDSA-P256": certificate.ECDSAP256, "ecdsa-p256": certificate.ECDSAP256,
		"rsa-4096": certificate.RSA4096, "ED25519": certificate.Ed25519, "Ed25519": certificate.Ed25519,
	} {
		got, err := certificate.ParseAlgorithm(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, text := range []string{"RSA", "RSA-2048", "ECDSA", " Ed25519"} {
		_, err := certificate.ParseAlgorithm(text)
		require.ErrorIs(t, err, certificate.ErrAlgorithm)
	}
	_, err := certificate.GenerateKey("RSA-2048")
	require.ErrorIs(t, err, certificate.ErrAlgorithm)
}

func TestKeys(t *testing.T) {
	t.Parallel()
	for name, key := range map[certificate.Algorithm]certificate.Key{
		certificate.ECDSAP256: generate(certificate.ECDSAP256),
		certificate.RSA4096:   rsaKey(),
		certificate.Ed25519:   generate(certificate.Ed25519),
	} {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			require.Equal(t, name, key.Algorithm())
			again, err := certificate.ParseKey(key.PKCS8())
			require.NoError(t, err)
			require.Equal(t, name, again.Algorithm())
			require.Equal(t, key.PEM(), again.PEM())
			require.Equal(t, key.SPKI(), again.SPKI())
			spki, err := x509.MarshalPKIXPublicKey(key.Public())
			require.NoError(t, err)
			require.Equal(t, spki, key.SPKI())

			der, err := certificate.Request(again, "alice:1")
			require.NoError(t, err)
			require.NoError(t, certificate.CheckRequest(der, "alice:1", key.SPKI()))

			// With the certificate it makes a pair, as kubectl reads it.
			_, err = tls.X509KeyPair(clients().issue(key.Public(), nil), key.PEM())
			require.NoError(t, err)
		})
	}
}

func TestParseKeyRefuses(t *testing.T) {
	t.Parallel()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	rsa2048, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for name, key := range map[string]any{"P-384": p384, "RSA-2048": rsa2048} {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		require.NoError(t, err)
		_, err = certificate.ParseKey(der)
		require.ErrorIs(t, err, certificate.ErrKey, name)
	}
	for name, der := range map[string][]byte{
		"nothing": nil, "text": []byte("key"), "PEM": aliceKey().PEM(), "public": aliceKey().SPKI(),
		"cut": aliceKey().PKCS8()[:50],
	} {
		_, err := certificate.ParseKey(der)
		require.ErrorIs(t, err, certificate.ErrKey, name)
	}
}

func TestZero(t *testing.T) {
	t.Parallel()
	key := generate(certificate.ECDSAP256)
	copied, spki, kept := key, key.SPKI(), key.PKCS8()
	key.Zero()
	key.Zero()
	require.Nil(t, copied.PKCS8(), "copies of a key are the key")
	require.Nil(t, copied.PEM())
	require.Equal(t, spki, key.SPKI())
	_, err := certificate.Request(key, "a")
	require.ErrorIs(t, err, certificate.ErrZeroed)
	_, err = certificate.ParseKey(kept)
	require.NoError(t, err, "what was handed out is the caller's")

	var none certificate.Key
	none.Zero()
	require.Nil(t, none.PEM())
	require.Nil(t, none.Public())
	_, err = certificate.Request(none, "a")
	require.ErrorIs(t, err, certificate.ErrZeroed)
}

func TestKeysPrintRedacted(t *testing.T) {
	t.Parallel()
	key := aliceKey()
	body := strings.Split(string(key.PEM()), "\n")[1]
	for name, value := range map[string]any{
		"key": key, "pointer": &key, "inside": struct{ inner certificate.Key }{key}, "list": []certificate.Key{key},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var all bytes.Buffer
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				fmt.Fprintf(&all, verb, value)
			}
			slog.New(slog.NewJSONHandler(&all, nil)).Info("x", "v", value)
			slog.New(slog.NewTextHandler(&all, nil)).Info("x", "v", value)
			text, err := json.Marshal(value)
			require.NoError(t, err)
			all.Write(text)
			private := key.PKCS8()
			secret := private[40:60] // within the private half
			for _, shown := range []string{body, "PRIVATE", hex.EncodeToString(secret), strings.Trim(fmt.Sprintf("%d", secret), "[]"), string(secret)} {
				require.NotContains(t, all.String(), shown)
			}
		})
	}
	require.Equal(t, "[redacted]", key.String())
}
