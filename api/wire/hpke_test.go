package wire

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSealedOpensOnlyWhereItWasMeant(t *testing.T) {
	t.Parallel()
	for _, kem := range []RecipientKem{KEMX25519, KEMMLKEM768X25519} {
		t.Run(fmt.Sprint(kem), func(t *testing.T) {
			t.Parallel()
			private, recipient, err := NewRecipient(kem)
			require.NoError(t, err)
			require.NoError(t, recipient.Check())
			info := AllocationInfo("cluster", "ns", "pod", "uid")
			sealed, err := recipient.Seal(info, []byte("secret"))
			require.NoError(t, err)

			plain, err := sealed.Open(private, info)
			require.NoError(t, err)
			require.Equal(t, "secret", string(plain))

			for name, other := range map[string][]byte{
				"cluster": AllocationInfo("other", "ns", "pod", "uid"), "namespace": AllocationInfo("cluster", "other", "pod", "uid"),
				"pod": AllocationInfo("cluster", "ns", "other", "uid"), "uid": AllocationInfo("cluster", "ns", "pod", "other"),
				"purpose": SeedInfo("cluster"),
			} {
				_, err := sealed.Open(private, other)
				require.ErrorIs(t, err, ErrSealed, name)
			}
			stranger, _, err := NewRecipient(kem)
			require.NoError(t, err)
			_, err = sealed.Open(stranger, info)
			require.ErrorIs(t, err, ErrSealed)

			altered := Sealed{Kem: sealed.Kem, Ciphertext: append([]byte{}, sealed.Ciphertext...)}
			altered.Ciphertext[len(altered.Ciphertext)-1] ^= 1
			_, err = altered.Open(private, info)
			require.ErrorIs(t, err, ErrSealed)
			_, err = Sealed{Kem: sealed.Kem + 1, Ciphertext: sealed.Ciphertext}.Open(private, info)
			require.ErrorIs(t, err, ErrSealed)
		})
	}
}

func TestRecipientIsChecked(t *testing.T) {
	t.Parallel()
	_, good, err := NewRecipient(KEMX25519)
	require.NoError(t, err)
	for name, r := range map[string]Recipient{
		"nothing": {}, "unknown KEM": {Kem: 16, Key: good.Key}, "short key": {Kem: KEMX25519, Key: good.Key[1:]},
		"key of the other KEM": {Kem: KEMMLKEM768X25519, Key: good.Key},
	} {
		require.ErrorIs(t, r.Check(), ErrRecipient, name)
		_, err := r.Seal(nil, nil)
		require.ErrorIs(t, err, ErrRecipient, name)
	}
	_, _, err = NewRecipient(16)
	require.ErrorIs(t, err, ErrRecipient)
}

// Keys that can be read but not sealed to are found before anything is paid for them.
func TestRecipientOfLowOrder(t *testing.T) {
	t.Parallel()
	for _, point := range [][]byte{make([]byte, 32), append([]byte{1}, make([]byte, 31)...)} {
		_, hybrid, err := NewRecipient(KEMMLKEM768X25519)
		require.NoError(t, err)
		require.NoError(t, hybrid.Check())
		copy(hybrid.Key[len(hybrid.Key)-32:], point)
		for _, r := range []Recipient{{Kem: KEMX25519, Key: point}, hybrid} {
			_, err := r.publicKey()
			require.NoError(t, err, "it can be read")
			require.ErrorIs(t, r.Check(), ErrRecipient)
			_, err = r.Seal(nil, []byte("x"))
			require.Error(t, err)
		}
	}
}

// Two different questions never share an info, however their parts are cut.
func TestInfoIsUnambiguous(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.StringN(0, 4, 8), 4, 4)
		a, b := parts.Draw(t, "a"), parts.Draw(t, "b")
		same := strings.Join(a, "\x00") == strings.Join(b, "\x00")
		if same {
			return
		}
		require.NotEqual(t, AllocationInfo(a[0], a[1], a[2], a[3]), AllocationInfo(b[0], b[1], b[2], b[3]))
	})
}

func TestSecretsAreRedacted(t *testing.T) {
	t.Parallel()
	secrets := AllocationSecrets{Fence: 7, Keys: []KeySecret{{Pubkey: "0xab", Path: "m/1", Secret: []byte("hunter2!")}}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		text := fmt.Sprintf(verb, secrets.Keys[0])
		require.NotContains(t, text, "hunter2!", verb)
		require.NotContains(t, text, "68756e74657232", verb)
	}
	require.NotContains(t, slog.AnyValue(secrets.Keys[0]).Resolve().String(), "hunter2!")

	plain, err := secrets.Encode()
	require.NoError(t, err)
	got, err := DecodeSecrets(plain)
	require.NoError(t, err)
	require.Equal(t, secrets.Keys[0].Secret, got.Keys[0].Secret)
	got.Zero()
	require.Equal(t, make([]byte, 8), got.Keys[0].Secret)

	_, err = DecodeSecrets([]byte("{"))
	require.Error(t, err)
	var syntax *json.SyntaxError
	require.ErrorAs(t, err, &syntax)
}
