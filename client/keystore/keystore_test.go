package keystore

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// The vectors of EIP-2335.
const (
	vectorPassword = "𝔱𝔢𝔰𝔱𝔭𝔞𝔰𝔰𝔴𝔬𝔯𝔡🔑"
	vectorSecret   = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
	vectorPublic   = "9612d7a727c9d0a22e185a1c768478dfe919cada9266988cb32359c11f2b7b27f4ae4040902382ae2910c15e2b420d07"
)

func vector(t testing.TB, kdf KDF) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + string(kdf) + ".json")
	require.NoError(t, err)
	return raw
}

func testPassword(t testing.TB, text string) Password {
	t.Helper()
	password, err := NewPassword([]byte(text))
	require.NoError(t, err)
	return password
}

func testSecret(t testing.TB) *validator.SecretKey {
	t.Helper()
	raw, err := hex.DecodeString(vectorSecret)
	require.NoError(t, err)
	secret, err := validator.SecretKeyFromBytes(raw)
	require.NoError(t, err)
	return secret
}

func TestVectors(t *testing.T) {
	t.Parallel()
	for _, kdf := range []KDF{PBKDF2, Scrypt} {
		t.Run(string(kdf), func(t *testing.T) {
			t.Parallel()
			keystore, err := Parse(vector(t, kdf))
			require.NoError(t, err)
			secret, err := Decrypt(keystore, testPassword(t, vectorPassword))
			require.NoError(t, err)
			require.Equal(t, vectorSecret, hex.EncodeToString(secret.Bytes()))

			// The same salt and IV give the vector's checksum and ciphertext again.
			params, err := standardParams(kdf)
			require.NoError(t, err)
			var drawn drawing
			_, err = hex.Decode(drawn.salt[:], []byte(keystore.Crypto.KDF.Params.Salt))
			require.NoError(t, err)
			_, err = hex.Decode(drawn.iv[:], []byte(keystore.Crypto.Cipher.Params.IV))
			require.NoError(t, err)
			again, err := encrypt(Key{Secret: secret, Path: keystore.Path}, testPassword(t, vectorPassword), kdf, params, drawn)
			require.NoError(t, err)
			require.Equal(t, keystore.Crypto, again.Crypto)
			require.Equal(t, vectorPublic, again.PublicKey)
		})
	}
}

func TestEncryptDecrypt(t *testing.T) {
	t.Parallel()
	secret := testSecret(t)
	keystore, err := Encrypt(secret, testPassword(t, "correct horse"), PBKDF2, "m/12381/3600/0/0/0", rand.Reader)
	require.NoError(t, err)
	encoded, err := json.Marshal(keystore)
	require.NoError(t, err)
	require.NotContains(t, string(encoded), vectorSecret[12:])

	parsed, err := Parse(encoded)
	require.NoError(t, err)
	require.Equal(t, keystore, parsed)
	require.Equal(t, vectorPublic, parsed.PublicKey, "without 0x")
	require.Equal(t, "m/12381/3600/0/0/0", parsed.Path)
	require.Equal(t, 4, parsed.Version)
	require.Equal(t, byte('4'), parsed.UUID[14], "a UUID of version 4")
	decrypted, err := Decrypt(parsed, testPassword(t, "correct horse"))
	require.NoError(t, err)
	require.Equal(t, secret.Bytes(), decrypted.Bytes())

	_, err = Decrypt(parsed, testPassword(t, "correct horses"))
	require.ErrorIs(t, err, ErrPassword)
	_, err = Encrypt(secret, testPassword(t, "correct horse"), "argon2", "", rand.Reader)
	require.ErrorContains(t, err, "pbkdf2, scrypt")
	_, err = Encrypt(secret, testPassword(t, "correct horse"), PBKDF2, "", bytes.NewReader(make([]byte, 40)))
	require.Error(t, err, "randomness ran out")
}

// Lighthouse refuses keystores with fields that it does not know.
func TestKeystoreHasExactlyTheFieldsOfTheFormat(t *testing.T) {
	t.Parallel()
	for kdf, want := range map[KDF]string{
		PBKDF2: `{"dklen":32,"c":262144,"prf":"hmac-sha256","salt":""}`,
		Scrypt: `{"dklen":32,"n":262144,"p":1,"r":8,"salt":""}`,
	} {
		params, err := standardParams(kdf)
		require.NoError(t, err)
		encoded, err := json.Marshal(params)
		require.NoError(t, err)
		require.Equal(t, want, string(encoded))
	}
	encoded, err := json.Marshal(Keystore{Version: 4})
	require.NoError(t, err)
	require.Equal(t, `{"crypto":{"kdf":{"function":"","params":{"dklen":0,"salt":""},"message":""},`+ //nolint:testifylint // the order is meant
		`"checksum":{"function":"","params":{},"message":""},"cipher":{"function":"","params":{"iv":""},"message":""}},`+
		`"description":"","pubkey":"","path":"","uuid":"","version":4}`, string(encoded))
}

func TestPublicKeyIsNeverTrusted(t *testing.T) {
	t.Parallel()
	params, password := cheap, testPassword(t, "password")
	keystore, err := encrypt(Key{Secret: testSecret(t)}, password, PBKDF2, params, drawing{})
	require.NoError(t, err)
	other := testKeys(t, 1)[0].Secret.PublicKey()

	keystore.PublicKey = other.String()[2:]
	_, err = Decrypt(keystore, password)
	require.ErrorIs(t, err, ErrPublicKeyMismatch)
	keystore.PublicKey = "not a key"
	_, err = Decrypt(keystore, password)
	require.ErrorIs(t, err, ErrKeystore)
	keystore.PublicKey = ""
	secret, err := Decrypt(keystore, password)
	require.NoError(t, err)
	require.Equal(t, vectorPublic, secret.PublicKey().String()[2:])
}

// Every one of these would take hours, all memory, or a panic if it were tried.
func TestMalformedKeystoresAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	password := testPassword(t, vectorPassword)
	for name, damage := range map[string]func(k *Keystore){
		"version":             func(k *Keystore) { k.Version = 3 },
		"n":                   func(k *Keystore) { k.Crypto.KDF.Params.N = 1 << 40 },
		"memory":              func(k *Keystore) { k.Crypto.KDF.Params.N = 1 << 20 },
		"n no power of two":   func(k *Keystore) { k.Crypto.KDF.Params.N = 262143 },
		"n one":               func(k *Keystore) { k.Crypto.KDF.Params.N = 1 },
		"n negative":          func(k *Keystore) { k.Crypto.KDF.Params.N = -1 << 63 },
		"r":                   func(k *Keystore) { k.Crypto.KDF.Params.R = 1 << 30 },
		"r overflows":         func(k *Keystore) { k.Crypto.KDF.Params.R = 1 << 62 },
		"r zero":              func(k *Keystore) { k.Crypto.KDF.Params.R = 0 },
		"p":                   func(k *Keystore) { k.Crypto.KDF.Params.P = 1 << 29 },
		"p negative":          func(k *Keystore) { k.Crypto.KDF.Params.P = -1 },
		"c":                   func(k *Keystore) { pbkdf2With(k, 1<<31, pseudorandom) },
		"c zero":              func(k *Keystore) { pbkdf2With(k, 0, pseudorandom) },
		"c negative":          func(k *Keystore) { pbkdf2With(k, -5, pseudorandom) },
		"prf":                 func(k *Keystore) { pbkdf2With(k, 1, "hmac-md5") },
		"dklen":               func(k *Keystore) { k.Crypto.KDF.Params.DKLen = 1 << 40 },
		"dklen small":         func(k *Keystore) { k.Crypto.KDF.Params.DKLen = 16 },
		"dklen negative":      func(k *Keystore) { k.Crypto.KDF.Params.DKLen = -32 },
		"salt":                func(k *Keystore) { k.Crypto.KDF.Params.Salt = "xx" },
		"salt long":           func(k *Keystore) { k.Crypto.KDF.Params.Salt = strings.Repeat("00", 2000) },
		"kdf":                 func(k *Keystore) { k.Crypto.KDF.Function = "argon2" },
		"checksum function":   func(k *Keystore) { k.Crypto.Checksum.Function = "md5" },
		"checksum":            func(k *Keystore) { k.Crypto.Checksum.Message = "00" },
		"checksum not hex":    func(k *Keystore) { k.Crypto.Checksum.Message = strings.Repeat("x", 64) },
		"cipher":              func(k *Keystore) { k.Crypto.Cipher.Function = "aes-256-gcm" },
		"iv":                  func(k *Keystore) { k.Crypto.Cipher.Params.IV = "0011" },
		"no iv":               func(k *Keystore) { k.Crypto.Cipher.Params.IV = "" },
		"ciphertext":          func(k *Keystore) { k.Crypto.Cipher.Message = "" },
		"ciphertext long":     func(k *Keystore) { k.Crypto.Cipher.Message += "00" },
		"ciphertext not hex":  func(k *Keystore) { k.Crypto.Cipher.Message = strings.Repeat("x", 64) },
		"nothing but version": func(k *Keystore) { *k = Keystore{Version: 4} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keystore, err := Parse(vector(t, Scrypt))
			require.NoError(t, err)
			damage(&keystore)
			_, err = Decrypt(keystore, password)
			require.ErrorIs(t, err, ErrKeystore)
		})
	}
}

func pbkdf2With(k *Keystore, rounds int, prf string) {
	k.Crypto.KDF.Function = PBKDF2
	k.Crypto.KDF.Params = kdfParams{DKLen: derivedLength, C: rounds, PRF: prf, Salt: "00"}
}

func TestSecretOutOfRange(t *testing.T) {
	t.Parallel()
	password := testPassword(t, "password")
	crypto, err := conceal(make([]byte, 32), password, kdfModule{Function: PBKDF2, Params: cheap}, [16]byte{})
	require.NoError(t, err)
	_, err = Decrypt(Keystore{Crypto: crypto, Version: 4}, password)
	require.ErrorIs(t, err, ErrKeystore)
	require.ErrorIs(t, err, validator.ErrSecretKey)
}

func TestParseRefusals(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"empty": "", "no JSON": "keystore", "list": "[]", "version 1": `{"version":1}`, "text": `{"version":"4"}`,
		"huge number": `{"version":4,"crypto":{"kdf":{"params":{"n":1e99}}}}`,
		"large":       `{"version":4,"name":"` + strings.Repeat("x", maxKeystoreSize) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse([]byte(raw))
			require.ErrorIs(t, err, ErrKeystore)
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(vector(f, PBKDF2))
	f.Add(vector(f, Scrypt))
	f.Add([]byte(`{"version":4}`))
	f.Add([]byte{0xff})
	f.Fuzz(func(t *testing.T, raw []byte) {
		keystore, err := Parse(raw)
		if err != nil {
			require.ErrorIs(t, err, ErrKeystore)
			return
		}
		if _, err := keystore.Crypto.KDF.check(); err != nil {
			require.ErrorIs(t, err, ErrKeystore)
		}
		again, err := json.Marshal(keystore)
		require.NoError(t, err)
		parsed, err := Parse(again)
		require.NoError(t, err)
		require.Equal(t, keystore, parsed)
	})
}
