package api

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/api/wire"
)

// TestUsualBodiesArePlain: what the client sends is read the quick way.
func TestUsualBodiesArePlain(t *testing.T) {
	t.Parallel()
	_, recipient, err := wire.NewRecipient(wire.KEMMLKEM768X25519)
	require.NoError(t, err)
	for name, request := range map[string]wire.AllocationRequest{
		"no recipient": {Namespace: "bench", Pod: "web-0", PodUID: "4f1c", Keys: 64},
		"recipient":    {Namespace: "bench", Pod: "web-0", PodUID: "4f1c", Keys: 1, Recipient: recipient},
		"watermarks":   {Namespace: "bench", Pod: "web-0", PodUID: "4f1c", Keys: 1, SlashingProtection: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := json.Marshal(request)
			require.NoError(t, err)
			var body allocationBody
			require.True(t, readPlain(data, &body), "%s", data)
			requireExact(t, data, body)
		})
	}
}

func TestWhatIsNotPlain(t *testing.T) {
	t.Parallel()
	for _, data := range []string{
		``, ` `, `[]`, `"keys"`, `{`, `{"keys":1`, `{"keys":1}}`, `{"keys":1} x`, "{\"keys\":1}\x00", `{"keys":1,}`, `{,}`, `{"keys"}`,
		`{"keys":1,"keys":1}`, `{"KEYS":1}`, `{"other":1}`, `{"kem":32}`, `{"recipient":{"keys":1}}`, `{"recipient":{"kem":32,"kem":32}}`,
		`{"keys":null}`, `{"recipient":null}`, `{"keys":"1"}`, `{"keys":1.0}`, `{"keys":-1}`, `{"keys":01}`, `{"keys":9223372036854775808}`,
		`{"pod":1}`, `{"pod":"a` + "\n" + `"}`, `{"pod":"\u0061"}`, `{"pod":"é"}`, "{\"pod\":\"\xff\"}", `{"pod":["a"]}`, `{"p\u006fd":"a"}`,
		`{"recipient":{"kem":32,"key":"AAA"}}`, `{"slashingProtection":trueish}`, `{"slashingProtection":1}`,
	} {
		require.False(t, readPlain([]byte(data), new(allocationBody)), data)
	}
}

// requireExact holds a body that was read the quick way against the other way.
func requireExact(t require.TestingT, data []byte, body allocationBody) {
	exact, err := decode[allocationBody](data, fieldsOf(reflect.TypeFor[allocationBody]()))
	require.NoError(t, err, "%s", data)
	require.Equal(t, exact, body, "%s", data)
}

// TestPlainIsExact puts bodies together of what is and of what nearly is one.
func TestPlainIsExact(t *testing.T) {
	t.Parallel()
	parts := []string{
		`{`, `}`, `:`, `,`, ` `, `"keys"`, `"pod"`, `"podUid"`, `"namespace"`, `"recipient"`, `"kem"`, `"key"`, `"AAAA"`, `"Keys"`, `1`, `0`, `true`, `[`, `]`,
		`"keys":1`, `"pod":"a"`, `"recipient":{`, `"kem":32`, `"key":"AAAA"`, `"slashingProtection":true`, `null`, `"\n"`, `.`, `-`,
	}
	quick := 0
	rapid.Check(t, func(t *rapid.T) {
		inner := rapid.SliceOfN(rapid.SampledFrom(parts), 0, 7).Draw(t, "parts")
		data := []byte("{")
		for _, part := range inner {
			data = append(data, part...)
			if rapid.Bool().Draw(t, "comma") {
				data = append(data, ',')
			}
		}
		data = append(data, '}')
		var body allocationBody
		if readPlain(data, &body) {
			quick++
			requireExact(t, data, body)
		}
	})
	require.NotZero(t, quick, "none was read the quick way")
}

func FuzzPlain(f *testing.F) {
	for _, seed := range []string{body(nil), `{"recipient":{"kem":32,"key":"AAAA"},"keys":1}`, `{"keys": 1 }`, `{}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var body allocationBody
		if readPlain(data, &body) {
			requireExact(t, data, body)
		}
	})
}
