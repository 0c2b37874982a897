package wire

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzRecipient: whoever is taken for a recipient can be sealed to; what is sealed to
// another does not open, nor does anything that was not sealed at all.
func FuzzRecipient(f *testing.F) {
	mine, recipient, err := NewRecipient(KEMX25519)
	require.NoError(f, err)
	for _, r := range []Recipient{recipient, {Kem: KEMMLKEM768X25519, Key: make([]byte, 1216)}, {Kem: 32, Key: make([]byte, 32)}, {}} {
		text, err := json.Marshal(r)
		require.NoError(f, err)
		f.Add(text, []byte("ciphertext"))
	}
	f.Fuzz(func(t *testing.T, text, ciphertext []byte) {
		_, err := Sealed{Kem: int(KEMX25519), Ciphertext: ciphertext}.Open(mine, SeedInfo("c"))
		require.ErrorIs(t, err, ErrSealed)
		var r Recipient
		if json.Unmarshal(text, &r) != nil {
			return
		}
		if err := r.Check(); err != nil {
			require.ErrorIs(t, err, ErrRecipient)
			return
		}
		_, err = r.Seal(SeedInfo("c"), []byte("secret"))
		require.NoError(t, err)
	})
}

// FuzzDecodeSecrets: whatever was sealed to us, it is secrets or an error.
func FuzzDecodeSecrets(f *testing.F) {
	f.Add([]byte(`{"fence":1,"keys":[{"pubkey":"0x","path":"","secret":"AAAA"}]}`))
	f.Add([]byte("null"))
	f.Add([]byte(`{"keys":[null]}`))
	f.Fuzz(func(t *testing.T, plaintext []byte) {
		s, err := DecodeSecrets(plaintext)
		if err != nil {
			return
		}
		_, err = s.Encode()
		require.NoError(t, err)
		s.Zero()
	})
}
