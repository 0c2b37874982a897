package seal

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzDataKeys: what decodes as data keys has one of the current term, and encodes to
// the same keys again.
func FuzzDataKeys(f *testing.F) {
	good, err := dataKeys{1: newDataKey(), 2: newDataKey()}.encode(2)
	require.NoError(f, err)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4096 {
			return // each key takes locked pages of its own
		}
		current, keys, err := decodeDataKeys(b)
		if err != nil {
			require.ErrorIs(t, err, ErrOpen)
			return
		}
		require.NotNil(t, keys[current])
		encoded, err := keys.encode(current)
		require.NoError(t, err)
		require.LessOrEqual(t, len(encoded), len(b))
		for _, key := range keys {
			key.destroy()
		}
	})
}

// FuzzParseKEK: whatever stands behind --seal is a description or an error that does
// not repeat it: it may be the secret itself.
func FuzzParseKEK(f *testing.F) {
	for _, seed := range []string{"", "file:/a", "passphrase:/a", "tpm:/dev/tpmrm0", "tpm:unix:/a", "kms:unix:///a", "kms:n@unix:///@a", "correct horse battery staple", "file:", "kms:unix:///a?b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, description string) {
		kek, err := ParseKEK(description)
		if err != nil {
			require.Nil(t, kek)
			require.ErrorIs(t, err, ErrKEK)
			if len(description) > 40 {
				require.NotContains(t, err.Error(), description)
			}
		}
	})
}
