package validator

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var testAddress = [20]byte(unhex("00000000219ab540356cbb839cbe05303d7705fa"))

func TestCredentials(t *testing.T) {
	t.Parallel()
	key, err := ParsePublicKey(vectorPublic)
	require.NoError(t, err)
	sum := sha256.Sum256(key[:])
	require.Equal(t, "0x00"+hex.EncodeToString(sum[1:]), BLSCredentials(key).String())
	require.Equal(t, "0x01000000000000000000000000000000219ab540356cbb839cbe05303d7705fa", AddressCredentials(testAddress).String())
	require.Equal(t, "0x02000000000000000000000000000000219ab540356cbb839cbe05303d7705fa", CompoundingCredentials(testAddress).String())
	for _, credentials := range []Credentials{
		BLSCredentials(key), AddressCredentials(testAddress), CompoundingCredentials(testAddress),
	} {
		parsed, err := ParseCredentials(credentials[:])
		require.NoError(t, err)
		require.Equal(t, credentials, parsed)
	}
}

func TestBadCredentials(t *testing.T) {
	t.Parallel()
	address := "219ab540356cbb839cbe05303d7705fa219ab540"
	for name, text := range map[string]string{
		"empty":              "",
		"short":              "01" + strings.Repeat("00", 10) + address,
		"long":               "01" + strings.Repeat("00", 12) + address,
		"prefix 3":           "03" + strings.Repeat("00", 11) + address,
		"prefix 255":         "ff" + strings.Repeat("00", 11) + address,
		"padding":            "01" + strings.Repeat("00", 10) + "01" + address,
		"compounding pad":    "0201" + strings.Repeat("00", 10) + address,
		"zero address":       "01" + strings.Repeat("00", 31),
		"zero, compounding":  "02" + strings.Repeat("00", 31),
		"address left-align": "01" + address + strings.Repeat("00", 11),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseCredentials(unhex(text))
			require.ErrorIs(t, err, ErrCredentials)
		})
	}
}

func FuzzParseCredentials(f *testing.F) {
	good := AddressCredentials(testAddress)
	f.Add(good[:])
	f.Add([]byte{})
	f.Add(make([]byte, 32))
	f.Fuzz(func(t *testing.T, raw []byte) {
		credentials, err := ParseCredentials(raw)
		if err != nil {
			require.ErrorIs(t, err, ErrCredentials)
			return
		}
		require.Equal(t, raw, credentials[:])
		require.LessOrEqual(t, raw[0], byte(2))
	})
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	// The vectors of EIP-55 and the deposit contract's address as its authors print it.
	for _, text := range []string{
		"0x52908400098527886E0F7030069857D2E4169EE7", "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
		"0xde709f2102306220921060314715629080e2fb77", "0x27b1fdb04752bbc536007a920d24acb045561c26",
		"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
		"0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB", "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
		"0x00000000219ab540356cBB839Cbe05303d7705Fa",
	} {
		address, err := ParseAddress(text)
		require.NoError(t, err)
		require.Equal(t, text, FormatAddress(address))
		lower, err := ParseAddress(strings.ToLower(text))
		require.NoError(t, err, "lower case carries no checksum")
		require.Equal(t, address, lower)
		upper, err := ParseAddress("0x" + strings.ToUpper(text[2:]))
		require.NoError(t, err, "upper case carries no checksum")
		require.Equal(t, address, upper)
	}
}

func TestBadAddresses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty":           "",
		"no prefix":       "00000000219ab540356cBB839Cbe05303d7705Fa",
		"checksum":        "0x00000000219ab540356cbB839Cbe05303d7705Fa",
		"one digit wrong": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAee",
		"short":           "0x219ab540356cbb839cbe05303d7705fa",
		"long":            "0x0000000000219ab540356cbb839cbe05303d7705fa",
		"not hexadecimal": "0xzz000000219ab540356cbb839cbe05303d7705fa",
		"zero":            "0x" + strings.Repeat("0", 40),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, err := ParseAddress(text)
			require.ErrorIs(t, err, ErrAddress)
			require.Equal(t, [20]byte{}, address)
		})
	}
}

func FuzzParseAddress(f *testing.F) {
	f.Add("0x00000000219ab540356cBB839Cbe05303d7705Fa")
	f.Add("0x")
	f.Add("\xff")
	f.Fuzz(func(t *testing.T, text string) {
		address, err := ParseAddress(text)
		if err != nil {
			require.ErrorIs(t, err, ErrAddress)
			return
		}
		require.True(t, strings.EqualFold(text, FormatAddress(address)))
	})
}
