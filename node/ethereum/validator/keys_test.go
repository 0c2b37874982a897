package validator

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The secret and public key of EIP-2335's vectors.
const (
	vectorSecret = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
	vectorPublic = "9612d7a727c9d0a22e185a1c768478dfe919cada9266988cb32359c11f2b7b27f4ae4040902382ae2910c15e2b420d07"
)

func TestSecretKeyVector(t *testing.T) {
	t.Parallel()
	key, err := SecretKeyFromBytes(unhex(vectorSecret))
	require.NoError(t, err)
	require.Equal(t, "0x"+vectorPublic, key.PublicKey().String())
	require.Equal(t, unhex(vectorSecret), key.Bytes())
}

func TestBadSecretKeys(t *testing.T) {
	t.Parallel()
	above := new(big.Int).Add(groupOrder, big.NewInt(1)).Bytes()
	for name, raw := range map[string][]byte{
		"none": nil, "short": make([]byte, 31), "long": make([]byte, 33), "zero": make([]byte, 32),
		"group order": groupOrder.Bytes(), "above": above, "largest": unhex(strings.Repeat("ff", 32)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := SecretKeyFromBytes(raw)
			require.ErrorIs(t, err, ErrSecretKey)
		})
	}
	last := new(big.Int).Sub(groupOrder, big.NewInt(1)).Bytes()
	_, err := SecretKeyFromBytes(last)
	require.NoError(t, err, "the last key of the group")
}

func TestZeroedKeySignsNothingThatVerifies(t *testing.T) {
	t.Parallel()
	key, err := SecretKeyFromBytes(unhex(vectorSecret))
	require.NoError(t, err)
	public, root := key.PublicKey(), [32]byte{1}
	key.Zero()
	require.Equal(t, make([]byte, 32), key.Bytes())
	require.False(t, key.Sign(root).Verify(public, root))
	require.False(t, key.Sign(root).Verify(key.PublicKey(), root), "infinity is no public key")
}

func TestSignaturesAgreeWithTheSecondOpinion(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		raw := rapid.SliceOfN(rapid.Byte(), 31, 31).Filter(func(b []byte) bool {
			return new(big.Int).SetBytes(b).Sign() > 0
		}).Draw(rt, "secret")
		root := [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(rt, "root"))
		secret := new(big.Int).SetBytes(raw)
		key, err := SecretKeyFromBytes(secret.FillBytes(make([]byte, 32)))
		require.NoError(rt, err)
		signature := key.Sign(root)
		require.Equal(rt, slowPublicKey(secret), key.PublicKey())
		require.Equal(rt, slowSign(t, secret, root), signature)
		require.True(rt, slowVerify(t, key.PublicKey(), root, signature))
		require.True(rt, signature.Verify(key.PublicKey(), root))
	})
}

func TestSignatureRefusals(t *testing.T) {
	t.Parallel()
	key, err := SecretKeyFromBytes(unhex(vectorSecret))
	require.NoError(t, err)
	other, err := testSeed(t).SigningKey(0)
	require.NoError(t, err)
	root := [32]byte{1, 2, 3}
	signature := key.Sign(root)
	infinity := Signature{0xc0}
	flipped := signature
	flipped[0] ^= 0x20 // the sign of y: another point of the same curve

	require.True(t, signature.Verify(key.PublicKey(), root))
	require.False(t, signature.Verify(key.PublicKey(), [32]byte{9}), "another root")
	require.False(t, signature.Verify(other.PublicKey(), root), "another key")
	require.False(t, flipped.Verify(key.PublicKey(), root), "negated")
	require.False(t, Signature{}.Verify(key.PublicKey(), root), "no point")
	require.False(t, infinity.Verify(key.PublicKey(), root), "infinity")
	require.False(t, infinity.Verify(PublicKey{0xc0}, root), "infinity signs for infinity")
	require.False(t, signature.Verify(PublicKey{}, root), "no key")
}

func TestInvalidPublicKeys(t *testing.T) {
	t.Parallel()
	require.ErrorIs(t, PublicKey{0xc0}.Check(), ErrPublicKey, "infinity")
	require.ErrorIs(t, PublicKey{}.Check(), ErrPublicKey)
	good, err := ParsePublicKey(vectorPublic)
	require.NoError(t, err)
	require.NoError(t, good.Check())
}

func TestPublicKeyText(t *testing.T) {
	t.Parallel()
	want, err := ParsePublicKey(vectorPublic)
	require.NoError(t, err)
	for name, text := range map[string]string{
		"bare": vectorPublic, "prefixed": "0x" + vectorPublic, "upper case": strings.ToUpper(vectorPublic),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key, err := ParsePublicKey(text)
			require.NoError(t, err)
			require.Equal(t, want, key)
		})
	}
	encoded, err := json.Marshal(map[PublicKey]PublicKey{want: want})
	require.NoError(t, err)
	require.JSONEq(t, `{"0x`+vectorPublic+`": "0x`+vectorPublic+`"}`, string(encoded))
	var decoded map[PublicKey]PublicKey
	require.NoError(t, json.Unmarshal(encoded, &decoded))
	require.Equal(t, map[PublicKey]PublicKey{want: want}, decoded)
}

func TestBadPublicKeyText(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty": "", "prefix alone": "0x", "short": vectorPublic[2:], "long": vectorPublic + "00",
		"not hexadecimal": strings.Repeat("zz", 48), "prefixed twice": "0x0x" + vectorPublic[2:], "space": " " + vectorPublic,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ParsePublicKey(text)
			require.ErrorIs(t, err, ErrPublicKey)
		})
	}
}

func FuzzParsePublicKey(f *testing.F) {
	for _, text := range []string{vectorPublic, "0x" + vectorPublic, "", "0x", strings.Repeat("f", 96)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		key, err := ParsePublicKey(text)
		if err != nil {
			require.Equal(t, PublicKey{}, key)
			return
		}
		require.Equal(t, strings.ToLower(strings.TrimPrefix(text, "0x")), key.String()[2:])
		_ = key.Check() // must not panic on any bytes
	})
}
