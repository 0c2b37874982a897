package backup

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func testManifest() *Manifest {
	return &Manifest{
		FileID: strings.Repeat("ab", fileIDBytes), ClusterID: "c0ffee", MadeAt: time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC),
		Node: "n1", Program: "test", Index: 42, Term: 3, SnapshotFormat: 1, Keyring: []byte("keyring"), Counts: Counts{Keys: 7},
	}
}

func testKey(t testing.TB, m *Manifest) Key {
	t.Helper()
	k, err := NewKey([]byte(strings.Repeat("k", 32)), m.ClusterID, m.FileID)
	require.NoError(t, err)
	return k
}

// fileOf is a backup of a stream of n bytes.
func fileOf(t testing.TB, n int) (file, stream []byte) {
	t.Helper()
	stream = make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range stream {
		stream[i] = byte(r.Uint32())
	}
	m := testManifest()
	var out bytes.Buffer
	w, err := NewWriter(&out, testKey(t, m), m)
	require.NoError(t, err)
	_, err = io.Copy(struct{ io.Writer }{w}, bytes.NewReader(stream))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes(), stream
}

// readAll reads a whole file, by its key or, if that is wanted, without.
func readAll(in io.Reader, key *Key) ([]byte, *Header, error) {
	h, err := ReadHeader(in)
	if err != nil {
		return nil, nil, err
	}
	r, err := NewReader(in, h, key)
	if err != nil {
		return nil, h, err
	}
	stream, err := io.ReadAll(r)
	return stream, h, err
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, maxChunk - 1, maxChunk, maxChunk + 1, 3*maxChunk + 5} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			file, stream := fileOf(t, n)
			key := testKey(t, testManifest())
			for name, k := range map[string]*Key{"by key": &key, "without": nil} {
				got, h, err := readAll(iotest.OneByteReader(bytes.NewReader(file)), k)
				require.NoError(t, err, name)
				require.True(t, bytes.Equal(stream, got), name)
				require.Equal(t, *testManifest(), h.Manifest, name)
			}
			m, trailer, err := Verify(bytes.NewReader(file), &key)
			require.NoError(t, err)
			require.Equal(t, int64(n), trailer.Bytes)
			require.Equal(t, "c0ffee", m.ClusterID)
		})
	}
}

// Wherever a file ends early, that is what is said, and never that it is whole.
func TestTruncated(t *testing.T) {
	t.Parallel()
	file, _ := fileOf(t, maxChunk+100)
	key := testKey(t, testManifest())
	cut := func(t *testing.T, n int) {
		t.Helper()
		for _, k := range []*Key{&key, nil} {
			_, _, err := readAll(bytes.NewReader(file[:n]), k)
			require.ErrorIs(t, err, ErrTruncated, "%d of %d", n, len(file))
		}
	}
	for n := 1; n < 600; n++ {
		cut(t, n)
	}
	for n := len(file) - 400; n < len(file); n++ {
		cut(t, n)
	}
	_, _, err := readAll(bytes.NewReader(nil), &key)
	require.ErrorIs(t, err, ErrNotABackup)
}

// A file that lost its last chunks, and got an end that fits what is left, is found by
// its tags; without the key it is not, as is promised.
func TestForgedEnd(t *testing.T) {
	t.Parallel()
	file, stream := fileOf(t, 2*maxChunk)
	first := bytes.Index(file, stream[:64]) - 4
	m := testManifest()
	other, err := NewKey(bytes.Repeat([]byte{9}, 32), m.ClusterID, m.FileID)
	require.NoError(t, err)
	var forged bytes.Buffer
	w, err := NewWriter(&forged, other, m)
	require.NoError(t, err)
	_, err = w.Write(stream[:maxChunk])
	require.NoError(t, err)
	require.NoError(t, w.Close())
	// The manifest and the first chunk are genuine, the end is not.
	whole := append(bytes.Clone(file[:first+4+maxChunk+tagBytes]), forged.Bytes()[first+4+maxChunk+tagBytes:]...)
	key := testKey(t, m)
	_, _, err = readAll(bytes.NewReader(whole), &key)
	require.ErrorIs(t, err, ErrDamaged)
	_, _, err = readAll(bytes.NewReader(whole), nil)
	require.NoError(t, err)
}

// Chunks do not change their places, and do not come from another file of the same key.
func TestChunksStayWhereTheyAre(t *testing.T) {
	t.Parallel()
	file, stream := fileOf(t, 3*maxChunk)
	at := bytes.Index(file, stream[:64]) - 4
	part := 4 + maxChunk + tagBytes
	swapped := bytes.Clone(file)
	copy(swapped[at:], file[at+part:at+2*part])
	copy(swapped[at+part:], file[at:at+part])
	key := testKey(t, testManifest())
	got, _, err := readAll(bytes.NewReader(swapped), &key)
	require.ErrorIs(t, err, ErrDamaged)
	require.Empty(t, got, "the first one is not given out, whatever the hash at the end says")
	left := append(bytes.Clone(file[:at]), file[at+part:]...)
	got, _, err = readAll(bytes.NewReader(left), &key)
	require.ErrorIs(t, err, ErrDamaged)
	require.Empty(t, got)
}

// One bit that is another is found wherever it is.
func TestAltered(t *testing.T) {
	t.Parallel()
	file, _ := fileOf(t, 5000)
	key := testKey(t, testManifest())
	for i := range len(file) * 8 {
		if i/8 > 800 && i/8 < len(file)-300 && i%97 != 0 { // the middle is alike
			continue
		}
		altered := bytes.Clone(file)
		altered[i/8] ^= 1 << (i % 8)
		_, _, err := readAll(bytes.NewReader(altered), &key)
		require.Error(t, err, "bit %d", i)
		require.True(t, isOurs(err), "bit %d: %v", i, err)
	}
	_, _, err := readAll(bytes.NewReader(append(bytes.Clone(file), 0)), &key)
	require.ErrorIs(t, err, ErrDamaged)
}

func isOurs(err error) bool {
	for _, e := range []error{ErrNotABackup, ErrNewer, ErrTruncated, ErrDamaged} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Damage of manifest and stream is found without the key too.
func TestDamageWithoutKey(t *testing.T) {
	t.Parallel()
	file, stream := fileOf(t, 5000)
	for _, at := range []int{bytes.Index(file, []byte(`"node":"n1"`)) + 9, bytes.Index(file, stream[:64]) + 10} {
		altered := bytes.Clone(file)
		altered[at] ^= 2
		_, _, err := readAll(bytes.NewReader(altered), nil)
		require.ErrorIs(t, err, ErrDamaged)
	}
}

func TestWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	file, _ := fileOf(t, 10)
	m := testManifest()
	foreign, err := NewKey(bytes.Repeat([]byte{1}, 32), m.ClusterID, m.FileID)
	require.NoError(t, err)
	otherFile, err := NewKey([]byte(strings.Repeat("k", 32)), m.ClusterID, NewFileID())
	require.NoError(t, err)
	right := testKey(t, m)
	for name, c := range map[string]struct {
		file []byte
		key  *Key
		want error
	}{
		"text":            {[]byte("this is a text that is long enough"), &right, ErrNotABackup},
		"short":           {[]byte("no"), &right, ErrNotABackup},
		"empty":           {nil, &right, ErrNotABackup},
		"newer":           {append([]byte("keysteward backup 2\n"), file[len(first):]...), &right, ErrNewer},
		"newer still":     {append([]byte("keysteward backup 17\n"), file[len(first):]...), &right, ErrNewer},
		"no number":       {append([]byte("keysteward backup x\n"), file[len(first):]...), &right, ErrNotABackup},
		"another cluster": {file, &foreign, ErrDamaged},
		"another file":    {file, &otherFile, ErrDamaged},
		"no key":          {file, &Key{}, errNoKey},
		"huge manifest":   {append([]byte(first), 0x7f, 0xff, 0xff, 0xff), &right, ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := readAll(bytes.NewReader(c.file), c.key)
			require.ErrorIs(t, err, c.want)
		})
	}
}

// An error of reading or writing stays what it is, and is not taken for damage.
func TestErrorsOfTheDisk(t *testing.T) {
	t.Parallel()
	file, _ := fileOf(t, 3*maxChunk)
	disk := errors.New("the disk is gone")
	key := testKey(t, testManifest())
	for _, n := range []int{3, 25, 200, 300_000} {
		_, _, err := readAll(io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(disk)), &key)
		require.ErrorIs(t, err, disk)
		require.False(t, isOurs(err), err)
	}
	m := testManifest()
	for _, room := range []int{0, 30, 400, 300_000} {
		out := &smallDisk{room: room, full: disk}
		w, err := NewWriter(out, key, m)
		if err == nil {
			_, _ = w.Write(make([]byte, 2*maxChunk))
			err = w.Close()
		}
		require.ErrorIs(t, err, disk)
	}
}

type smallDisk struct {
	room int
	full error
}

func (d *smallDisk) Write(p []byte) (int, error) {
	if d.room -= len(p); d.room < 0 {
		return 0, d.full
	}
	return len(p), nil
}

func TestWriterRefuses(t *testing.T) {
	t.Parallel()
	m := testManifest()
	_, err := NewWriter(io.Discard, Key{}, m)
	require.ErrorIs(t, err, errNoKey)
	for name, spoil := range map[string]func(*Manifest){
		"no cluster": func(m *Manifest) { m.ClusterID = "" },
		"no keyring": func(m *Manifest) { m.Keyring = nil },
		"no file":    func(m *Manifest) { m.FileID = "x" },
		"too large":  func(m *Manifest) { m.Keyring = make([]byte, maxManifest) },
	} {
		bad := testManifest()
		spoil(bad)
		_, err := NewWriter(io.Discard, testKey(t, m), bad)
		require.Error(t, err, name)
	}
	w, err := NewWriter(io.Discard, testKey(t, m), m)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.Error(t, w.Close())
	_, err = w.Write([]byte{1})
	require.Error(t, err)
}

func TestNames(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := testManifest()
		m.ClusterID = rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,20}[a-z0-9]`).Draw(t, "cluster")
		m.Index = rapid.Uint64().Draw(t, "index")
		m.MadeAt = time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "time"), 0).UTC()
		cluster, at, ok := ParseName(m.Name())
		require.True(t, ok, m.Name())
		require.Equal(t, m.ClusterID, cluster)
		require.True(t, m.MadeAt.Equal(at))
	})
	for _, name := range []string{"", Suffix, "keysteward" + Suffix, "keysteward--20260101T000000Z-1" + Suffix, "keysteward-c-20260101T000000Z-" + Suffix, "keysteward-c-20260101T000000Z-x" + Suffix, "keysteward-c-2026-1" + Suffix, "keysteward-c-20260101T000000Z-1", "x"} {
		_, _, ok := ParseName(name)
		require.False(t, ok, name)
	}
}

func TestKeyIsRedacted(t *testing.T) {
	t.Parallel()
	k := testKey(t, testManifest())
	secret := hex.EncodeToString(k.inner[:4])
	encoded, err := json.Marshal(k)
	require.NoError(t, err)
	for _, text := range []string{fmt.Sprint(k), fmt.Sprintf("%+v %#v %x %d %s", k, k, k, k, &k), string(encoded), slog.AnyValue(k).Resolve().String()} {
		require.Contains(t, text, "redacted")
		require.NotContains(t, text, secret)
	}
}

// Whatever the file says, the reader neither panics nor takes much memory, and no file
// but a genuine one is read to its end.
func FuzzReader(f *testing.F) {
	file, stream := fileOf(f, 500)
	f.Add(file)
	f.Add(file[:len(file)-3])
	f.Add([]byte(first))
	huge := append([]byte(nil), file...)
	binary.BigEndian.PutUint32(huge[len(first):], maxManifest)
	f.Add(huge)
	key := testKey(f, testManifest())
	f.Fuzz(func(t *testing.T, data []byte) {
		got, _, err := readAll(bytes.NewReader(data), &key)
		if err == nil {
			require.Equal(t, file, data)
			require.Equal(t, stream, got)
		} else {
			require.True(t, isOurs(err), err)
		}
		_, _, err = readAll(bytes.NewReader(data), nil)
		require.True(t, err == nil || isOurs(err), err)
	})
}
