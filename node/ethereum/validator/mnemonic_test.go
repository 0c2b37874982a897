package validator

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const wellKnown = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"

func testMnemonic(t testing.TB) Mnemonic {
	t.Helper()
	mnemonic, err := ParseMnemonic(wellKnown)
	require.NoError(t, err)
	return mnemonic
}

// Vectors of BIP-39; their passphrase is TREZOR.
func TestMnemonicVectors(t *testing.T) {
	t.Parallel()
	for name, vector := range map[string]struct{ words, passphrase, seed string }{
		"12 words": {
			wellKnown, "TREZOR",
			"c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a6987599d18264c1e1c92f2cf141630c7a3c4ab7c81b2f001698e7463b04",
		},
		"12 words, no passphrase": {
			wellKnown, "",
			"5eb00bbddcf069084889a8ab9155568165f5c453ccb85e70811aaed6f6da5fc19a5ac40b389cd370d086206dec8aa6c43daea6690f20ad3d8d48b2d2ce9e38e4",
		},
		"24 words": {
			strings.Repeat("abandon ", 23) + "art", "TREZOR",
			"bda85446c68413707090a52022edd26a1c9462295029f2e60cd7c4f2bbd3097170af7a4d73245cafa9c3cca8d561a7c3de6f5d4a10be8ed2a5e608d68f92fcc8",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mnemonic, err := ParseMnemonic(vector.words)
			require.NoError(t, err)
			require.Equal(t, vector.seed, hex.EncodeToString(mnemonic.Seed(vector.passphrase).Bytes()))
		})
	}
}

func TestNewMnemonic(t *testing.T) {
	t.Parallel()
	mnemonic, err := NewMnemonic([32]byte{})
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("abandon ", 23)+"art", mnemonic.Reveal())
}

func TestMnemonicIsNormalised(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"upper case":    strings.ToUpper(wellKnown),
		"lines":         "\n" + strings.ReplaceAll(wellKnown, " ", "\r\n") + "\n",
		"tabs":          strings.ReplaceAll(wellKnown, " ", "\t \t"),
		"ideographic":   strings.ReplaceAll(wellKnown, " ", "\u3000"),
		"full width":    strings.ReplaceAll(wellKnown, "a", "\uff41"),
		"no-break":      strings.ReplaceAll(wellKnown, " ", "\u00a0"),
		"mixed":         strings.ReplaceAll(wellKnown, "about", "AbOuT"),
		"nothing to do": wellKnown,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mnemonic, err := ParseMnemonic(text)
			require.NoError(t, err)
			require.Equal(t, wellKnown, mnemonic.Reveal())
		})
	}
}

func TestPassphraseIsNormalised(t *testing.T) {
	t.Parallel()
	mnemonic := testMnemonic(t)
	require.Equal(t, mnemonic.Seed("caf\u00e9").Bytes(), mnemonic.Seed("cafe\u0301").Bytes())
	require.NotEqual(t, mnemonic.Seed("cafe").Bytes(), mnemonic.Seed("caf\u00e9").Bytes())
}

func TestBadMnemonics(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]struct{ text, says string }{
		"empty":        {"", "0 words"},
		"one word":     {"abandon", "1 words"},
		"13 words":     {wellKnown + " about", "13 words"},
		"27 words":     {strings.Repeat("abandon ", 27), "27 words"},
		"unknown word": {strings.Replace(wellKnown, "about", "sekret", 1), "word 12 is not in"},
		"first word":   {strings.Replace(wellKnown, "abandon", "sekret", 1), "word 1 is not in"},
		"checksum":     {strings.Repeat("abandon ", 12), "checksum is wrong"},
		"order":        {"about " + strings.Repeat("abandon ", 11), "checksum is wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseMnemonic(bad.text)
			require.ErrorIs(t, err, ErrMnemonic)
			require.ErrorContains(t, err, bad.says)
			require.NotContains(t, err.Error(), "sekret", "an error must not tell a secret word")
			require.NotContains(t, err.Error(), "abandon", "an error must not tell a secret word")
		})
	}
}

func TestMnemonicRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		entropy := [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(rt, "entropy"))
		mnemonic, err := NewMnemonic(entropy)
		require.NoError(rt, err)
		require.Len(rt, strings.Fields(mnemonic.Reveal()), 24)
		again, err := ParseMnemonic(mnemonic.Reveal())
		require.NoError(rt, err)
		require.Equal(rt, mnemonic.Reveal(), again.Reveal())
	})
}

func FuzzParseMnemonic(f *testing.F) {
	for _, text := range []string{wellKnown, "", strings.ToUpper(wellKnown), "\xff\xfe", strings.Repeat("zoo ", 24)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		mnemonic, err := ParseMnemonic(text)
		if err != nil {
			require.Empty(t, mnemonic.Reveal())
			return
		}
		again, err := ParseMnemonic(mnemonic.Reveal())
		require.NoError(t, err)
		require.Equal(t, mnemonic.Reveal(), again.Reveal())
	})
}
