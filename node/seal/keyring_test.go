package seal

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestKeyringRoundTrip(t *testing.T) {
	t.Parallel()
	kek := kekOf(t, keyOf("a"))
	ring, encoded := ringOf(t, kek, testCluster)
	again, err := openKeyring(t.Context(), kek, testCluster, encoded)
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		kind, id := rapid.String().Draw(t, "kind"), rapid.String().Draw(t, "id")
		plain := rapid.SliceOf(rapid.Byte()).Draw(t, "plain")
		sealed, err := ring.Seal(kind, id, plain)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := again.Open(kind, id, sealed)
		if err != nil || !bytes.Equal(opened, plain) {
			t.Fatalf("%x came back as %x: %v", plain, opened, err)
		}
		i := rapid.IntRange(0, len(sealed)-1).Draw(t, "byte")
		sealed[i] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, err := again.Open(kind, id, sealed); err == nil {
			t.Fatal("an altered ciphertext opens")
		}
	})
}

func TestCiphertextStaysInItsPlace(t *testing.T) {
	t.Parallel()
	kek := kekOf(t, keyOf("a"))
	ring, encoded := ringOf(t, kek, testCluster)
	sealed, err := ring.Seal("seed", "1", []byte("secret"))
	require.NoError(t, err)
	require.NotContains(t, string(sealed), "secret")
	twice, err := ring.Seal("seed", "1", []byte("secret"))
	require.NoError(t, err)
	require.NotEqual(t, sealed, twice, "nonces are random")

	elsewhere := *ring
	elsewhere.clusterID = "another"
	otherRing, _ := ringOf(t, kek, testCluster)
	term2 := *ring
	term2.keys = dataKeys{1: otherRing.keys[1], 2: ring.keys[1]}
	for name, tc := range map[string]struct {
		ring     *Keyring
		kind, id string
		sealed   []byte
	}{
		"other kind":           {ring, "key", "1", sealed},
		"other ID":             {ring, "seed", "2", sealed},
		"kind and ID shifted":  {ring, "see", "d1", sealed},
		"other cluster":        {&elsewhere, "seed", "1", sealed},
		"other data key":       {otherRing, "seed", "1", sealed},
		"key under other term": {&term2, "seed", "1", sealed},
		"unknown term":         {ring, "seed", "1", append([]byte{0, 0, 0, 9}, sealed[4:]...)},
		"term of another key":  {&term2, "seed", "1", append([]byte{0, 0, 0, 1}, sealed[4:]...)},
		"no term":              {ring, "seed", "1", sealed[:3]},
		"only a term":          {ring, "seed", "1", sealed[:4]},
		"only a nonce":         {ring, "seed", "1", sealed[:16]},
		"cut":                  {ring, "seed", "1", sealed[:len(sealed)-1]},
		"nothing":              {ring, "seed", "1", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := tc.ring.Open(tc.kind, tc.id, tc.sealed)
			require.ErrorIs(t, err, ErrOpen)
			require.NotContains(t, err.Error(), "secret")
		})
	}
	_, err = openKeyring(t.Context(), kek, "another", encoded)
	require.ErrorIs(t, err, ErrOpen, "the keyring of another cluster")
	_, err = openKeyring(t.Context(), kek, "", encoded)
	require.ErrorIs(t, err, errNoCluster)
	_, err = NewKeyring(t.Context(), "", kek)
	require.ErrorIs(t, err, errNoCluster)
}

func TestKeyringsThatDoNotOpen(t *testing.T) {
	t.Parallel()
	kek := kekOf(t, keyOf("a"))
	_, encoded := ringOf(t, kek, testCluster)
	spoilt := func(spoil func(*record)) []byte {
		r, err := decodeRecord(encoded)
		require.NoError(t, err)
		spoil(&r)
		b, err := encodeRecord(r)
		require.NoError(t, err)
		return b
	}
	identity, err := kek.Identify(t.Context(), testCluster)
	require.NoError(t, err)
	id := identity.ID
	for name, tc := range map[string]struct {
		kek    KEK
		record []byte
		want   error
	}{
		"other key":           {kekOf(t, keyOf("b")), encoded, ErrNotWrapped},
		"no file":             {fileKEK{path: "/does/not/exist"}, encoded, ErrKEK},
		"no record":           {kek, nil, ErrOpen},
		"no JSON":             {kek, []byte("{"), ErrOpen},
		"newer":               {kek, spoilt(func(r *record) { r.Version++ }), ErrOpen},
		"public part altered": {kek, spoilt(func(r *record) { r.Wraps[id] = wrap{Root: r.Wraps[id].Root, Public: []byte("mine")} }), ErrOpen},
		"wrap added":          {kek, spoilt(func(r *record) { r.Wraps["tpm:00"] = wrap{Root: []byte("x"), Public: []byte("mine")} }), ErrOpen},
		"wrap altered":        {kek, spoilt(func(r *record) { r.Wraps[id].Root[0]++ }), ErrOpen},
		"wrap missing":        {kek, spoilt(func(r *record) { r.Wraps = nil }), ErrNotWrapped},
		"data keys cut":       {kek, spoilt(func(r *record) { r.Keys = r.Keys[:20] }), ErrOpen},
		"data keys moved":     {kek, spoilt(func(r *record) { r.Keys = r.Wraps[id].Root }), ErrOpen},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ring, err := openKeyring(t.Context(), tc.kek, testCluster, tc.record)
			require.ErrorIs(t, err, tc.want)
			require.Nil(t, ring)
		})
	}
}

// A keyring with several terms: old secrets open, new ones are under the newest.
func TestTerms(t *testing.T) {
	t.Parallel()
	kek := kekOf(t, keyOf("a"))
	old, _ := ringOf(t, kek, testCluster)
	sealed, err := old.Seal("seed", "1", []byte("x"))
	require.NoError(t, err)
	next := fixedKey(1)
	r := &rooted{Keyring: Keyring{clusterID: testCluster, current: 2, keys: dataKeys{1: old.keys[1], 2: next}}, root: newRoot(), rec: record{Wraps: map[string]wrap{}}}
	require.NoError(t, r.wrapBy(t.Context(), kek))
	encoded, err := r.encode()
	require.NoError(t, err)
	ring, err := openKeyring(t.Context(), kek, testCluster, encoded)
	require.NoError(t, err)
	plain, err := ring.Open("seed", "1", sealed)
	require.NoError(t, err)
	require.Equal(t, "x", string(plain))
	sealed, err = ring.Seal("seed", "1", []byte("y"))
	require.NoError(t, err)
	require.Equal(t, []byte{0, 0, 0, 2}, sealed[:termBytes])
	_, err = old.Open("seed", "1", sealed)
	require.ErrorIs(t, err, ErrOpen)
}

func TestDataKeyEncoding(t *testing.T) {
	t.Parallel()
	keys := dataKeys{2: fixedKey(1), 1: fixedKey(2)}
	b, err := keys.encode(2)
	require.NoError(t, err)
	newest, err := keys.encode(3)
	require.NoError(t, err)
	require.Len(t, b, termBytes+2*dataKeyBytes)
	current, decoded, err := decodeDataKeys(b)
	require.NoError(t, err)
	require.EqualValues(t, 2, current)
	for term, key := range keys {
		require.Equal(t, bytesOf(t, key), bytesOf(t, decoded[term]))
	}
	for _, bad := range [][]byte{nil, b[:3], b[:4], b[:len(b)-1], newest} {
		_, _, err := decodeDataKeys(bad)
		require.ErrorIs(t, err, ErrOpen)
	}
}

// What was sealed once has to open for ever: this record and this secret were
// written by the first version.
func TestKnownAnswer(t *testing.T) {
	t.Parallel()
	kek := kekOf(t, keyOf("a"))
	ring, err := openKeyring(t.Context(), kek, testCluster, []byte(knownRecord))
	require.NoError(t, err)
	plain, err := ring.Open("seed", "seed", unhex(t, knownSecret))
	require.NoError(t, err)
	require.Equal(t, "known answer", string(plain))
}

func TestKeyringIsRedacted(t *testing.T) {
	t.Parallel()
	ring, _ := ringOf(t, kekOf(t, keyOf("a")), testCluster)
	key := bytesOf(t, ring.keys[1])
	said := new(bytes.Buffer)
	type holder struct {
		Ring  *Keyring
		Value Keyring
		inner *Keyring
		raw   dataKeys
	}
	h := holder{ring, *ring, ring, ring.keys}
	for _, v := range []any{ring, *ring, h, &h, h.raw, []*Keyring{ring}, map[string]Keyring{"x": *ring}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b", "%o", "%c", "%U", "%T", "%p"} {
			fmt.Fprintf(said, verb+"\n", v)
		}
		require.NoError(t, json.NewEncoder(said).Encode(v))
		slog.New(slog.NewTextHandler(said, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(said, nil)).Info("x", "v", v)
	}
	fmt.Fprint(said, fmt.Errorf("ring %v", ring))
	require.Contains(t, said.String(), "redacted")
	noKey(t, said.Bytes(), key)
	require.Equal(t, "Keyring([redacted])", ring.String())
}

// noKey fails if the text holds the key in any usual writing.
func noKey(t *testing.T, text, key []byte) {
	t.Helper()
	decimal := fmt.Sprintf("%d", key[:8])
	for _, w := range []string{
		string(key), hex.EncodeToString(key[:8]), fmt.Sprintf("%X", key[:8]), decimal[1 : len(decimal)-1],
		base64.StdEncoding.EncodeToString(key)[:20], fmt.Sprintf("%#v", key[:4])[8:20],
	} {
		require.NotContains(t, string(text), w)
	}
}

func FuzzOpenKeyring(f *testing.F) {
	kek := staticKEK{}
	good, err := NewKeyring(f.Context(), testCluster, kek)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{good, []byte(knownRecord), nil, []byte("{}"), []byte(`{"version":1}`), []byte(`{"version":1,"wraps":{"static":"AAAA"}}`)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ring, err := openKeyring(t.Context(), kek, testCluster, b)
		if (ring == nil) == (err == nil) {
			t.Fatal("neither a keyring nor an error")
		}
		if _, _, err := decodeDataKeys(b); err == nil && len(b) < termBytes+dataKeyBytes {
			t.Fatal("keys out of nothing")
		}
	})
}

func FuzzOpen(f *testing.F) {
	ring := &Keyring{clusterID: testCluster, current: 1, keys: dataKeys{1: fixedKey(7)}}
	good, err := ring.Seal("seed", "1", []byte("only this was sealed"))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{good, nil, good[:4], good[:16], {0, 0, 0, 2}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		plain, err := ring.Open("seed", "1", b)
		if err == nil && string(plain) != "only this was sealed" {
			t.Fatalf("opened %x, which nobody sealed", plain)
		}
	})
}

// staticKEK is a key in the program, for what can not have files.
type staticKEK struct{}

func (staticKEK) Check(context.Context) error { return nil }

func (staticKEK) Identify(context.Context, string) (Identity, error) {
	return Identity{ID: "static:00"}, nil
}

func (staticKEK) Wrap(_ context.Context, _ string, plain, additional []byte) ([]byte, error) {
	return encrypt(make([]byte, KeySize), plain, additional)
}

func (staticKEK) Unwrap(_ context.Context, _ string, wrapped, additional []byte) ([]byte, error) {
	return decrypt(make([]byte, KeySize), wrapped, additional)
}

const (
	knownRecord = `{"version":1,"wraps":{"file:0f1e46dc07ff8a89":"43Bm+7rFECL5MaVIhYTAaQdsRsLHIFZ5ndAmynXKjkq1A1H78HQRCnw6Aku6cqhE1k481wjA2tlNOn1H"},"keys":"guulNY5a8AscjvHXk0m5svmvrstCsdHZyyYLUIHZgZDVSvY/hGj+tX0dFa5NGy7dsNR48i1tjhcJbe+nLHRRMQekfaU="}`
	knownSecret = "00000001f454485bf11019079e78d208608b45b48f3c1dcf14efb50e83043e7c850144f9e1a1ac7c322cc508"
)
