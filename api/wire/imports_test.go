package wire

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestImportRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		type pair struct {
			pubkey [importPubkey]byte
			secret string
		}
		var want, got []pair
		var plaintext []byte
		for range rapid.IntRange(1, 20).Draw(t, "n") {
			raw := rapid.SliceOfN(rapid.Byte(), ImportRecord, ImportRecord).Draw(t, "key")
			want = append(want, pair{[importPubkey]byte(raw), string(raw[importPubkey:])})
			var err error
			plaintext, err = AppendImport(plaintext, [importPubkey]byte(raw), raw[importPubkey:])
			require.NoError(t, err)
		}
		n, records, err := ImportRecords(plaintext)
		require.NoError(t, err)
		require.Equal(t, len(want), n)
		for pubkey, secret := range records {
			got = append(got, pair{pubkey, string(secret)})
		}
		require.Equal(t, want, got)
		for range records {
			break // a reader may stop
		}
	})
}

func TestImportRefusesOtherLengths(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, ImportRecord - 1, ImportRecord + 1, (MaxImport + 1) * ImportRecord} {
		_, _, err := ImportRecords(make([]byte, n))
		require.ErrorIs(t, err, ErrImport, "%d bytes", n)
	}
	_, _, err := ImportRecords(make([]byte, MaxImport*ImportRecord))
	require.NoError(t, err)
	for _, n := range []int{0, 31, 33} {
		_, err := AppendImport(nil, [importPubkey]byte{}, make([]byte, n))
		require.ErrorIs(t, err, ErrImport)
	}
}

func TestImportLeavesNoCopyBehind(t *testing.T) {
	t.Parallel()
	room := make([]byte, 0, 2*ImportRecord)
	plaintext, err := AppendImport(room, [importPubkey]byte{1}, bytes.Repeat([]byte{7}, importSecret))
	require.NoError(t, err)
	plaintext, err = AppendImport(plaintext, [importPubkey]byte{2}, bytes.Repeat([]byte{8}, importSecret))
	require.NoError(t, err)
	_, records, err := ImportRecords(plaintext)
	require.NoError(t, err)
	clear(room[:cap(room)])
	for _, secret := range records {
		require.Equal(t, make([]byte, importSecret), secret)
	}
}

func TestImportInfoIsItsOwn(t *testing.T) {
	t.Parallel()
	require.NotEqual(t, ImportInfo("c"), SeedInfo("c"), "a seed does not pass for keys")
	require.NotEqual(t, ImportInfo("c"), ImportInfo("d"))
}

func FuzzImportRecords(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 2*ImportRecord))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, records, err := ImportRecords(data)
		if err != nil {
			require.ErrorIs(t, err, ErrImport)
			return
		}
		again := []byte{}
		for pubkey, secret := range records {
			n--
			again, err = AppendImport(again, pubkey, secret)
			require.NoError(t, err)
		}
		require.Zero(t, n)
		require.Equal(t, data, again)
	})
}
