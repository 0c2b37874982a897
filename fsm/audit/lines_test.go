package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func encode(t rapid.TB, lines ...Line) []byte {
	t.Helper()
	var buf bytes.Buffer
	for _, l := range lines {
		text, err := l.Encode()
		require.NoError(t, err)
		buf.Write(text)
	}
	return buf.Bytes()
}

func readAll(data []byte) (lines []Line, err error) {
	for l, e := range ReadLines(bytes.NewReader(data)) {
		if e != nil {
			return lines, e
		}
		lines = append(lines, l)
	}
	return lines, nil
}

func TestLinesComeBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var want []Line
		for _, r := range drawChain(t, Head{}) {
			want = append(want, Line{Record: &r}, Line{Gap: &Gap{First: 1, Last: 2, Reason: r.Detail, Anchor: r.Hash}})
		}
		data := encode(t, want...)
		got, err := readAll(data)
		require.NoError(t, err)
		require.Equal(t, want, got)
		cut := rapid.IntRange(1, len(data)-1).Draw(t, "cut")
		got, err = readAll(data[:cut])
		require.Equal(t, want[:len(got)], append([]Line{}, got...))
		if data[cut-1] != '\n' {
			require.ErrorIs(t, err, ErrTorn)
		}
	})
}

func TestLinesThatAreNone(t *testing.T) {
	t.Parallel()
	good := string(bytes.TrimSuffix(encode(t, Line{Record: &Record{Seq: 1, Action: "a"}}), []byte("\n")))
	_, err := ParseLine([]byte(good))
	require.NoError(t, err)
	for name, text := range map[string]string{
		"empty": "", "text": "hello", "null": "null", "other": "{}", "blank": good + " ",
		"another field": strings.Replace(good, `"seq"`, `"x":1,"seq"`, 1), "twice": strings.Replace(good, `"seq":1`, `"seq":1,"seq":1`, 1),
		"no caller": strings.Replace(good, `{}`, `null`, 1), "case": strings.Replace(good, `"seq"`, `"Seq"`, 1),
		"gap of nothing": `{"gap":null}`, "gap and more": `{"gap":{"first":1,"last":2,"reason":"","anchor":""},"seq":1}`,
		"hash": strings.Replace(good, `"hash":""`, `"hash":"0x12"`, 1), "negative": strings.Replace(good, `:1,`, `:-1,`, 1),
		"not UTF-8": strings.Replace(good, `"a"`, "\"\xff\"", 1),
	} {
		_, err := ParseLine([]byte(text))
		require.ErrorIs(t, err, ErrLine, name)
	}
	_, err = readAll(bytes.Repeat([]byte("x"), MaxLine+2))
	require.ErrorIs(t, err, ErrLine)
	_, err = readAll([]byte(good + "\n" + "hello\n"))
	require.ErrorContains(t, err, "line 2")
	broken := errors.New("disk on fire")
	for _, err := range ReadLines(iotest.ErrReader(broken)) {
		require.ErrorIs(t, err, broken)
	}
}

// FuzzReadLines: whatever is in a file, its lines are refused or are the very
// bytes that we would write.
func FuzzReadLines(f *testing.F) {
	f.Add(encode(f, Line{Record: &Record{Seq: 1, Caller: map[string]string{"name": "n"}}}, Line{Gap: &Gap{First: 2, Last: 3}}))
	f.Add([]byte("{}\n"))
	f.Add([]byte(`{"seq":1`))
	f.Fuzz(func(t *testing.T, data []byte) {
		lines, err := readAll(data)
		again := encode(t, lines...)
		require.True(t, bytes.HasPrefix(data, again))
		if err == nil {
			require.Len(t, again, len(data))
		}
	})
}

// TestRecordsAreWrittenAsEncodingJSONDoes: files that are there, and programs that read
// them, know no other form.
func TestRecordsAreWrittenAsEncodingJSONDoes(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(
		rapid.StringMatching(`[ -~]{0,40}`), rapid.String(),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
		rapid.SampledFrom([]string{"", `"`, `\`, "<b>&", "\u2028\u2029", "\x00\x1f\x7f", "é", "\xff", "a\tb\n"}),
	)
	rapid.Check(t, func(t *rapid.T) {
		r := Record{
			Seq: rapid.Uint64().Draw(t, "seq"), Index: rapid.Uint64().Draw(t, "index"), Term: rapid.Uint64().Draw(t, "term"),
			Version: rapid.Uint32().Draw(t, "version"), WallMs: rapid.Int64().Draw(t, "wallMs"),
			Caller:    rapid.MapOfN(text, text, -1, 7).Draw(t, "caller"),
			RequestID: text.Draw(t, "request"), Action: text.Draw(t, "action"), Object: text.Draw(t, "object"),
			Outcome: text.Draw(t, "outcome"), Detail: text.Draw(t, "detail"),
			Hash: rapid.SliceOfN(rapid.Byte(), 0, 33).Draw(t, "hash"),
		}
		want, err := json.Marshal(r)
		require.NoError(t, err)
		got, err := Line{Record: &r}.Append([]byte("before "))
		require.NoError(t, err)
		require.Equal(t, "before "+string(want)+"\n", string(got))
	})
}

func TestEveryFieldOfARecordIsWritten(t *testing.T) {
	t.Parallel()
	text, err := Line{Record: &Record{}}.Encode()
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(text, &fields))
	require.Len(t, fields, reflect.TypeFor[Record]().NumField())
	require.Contains(t, string(text), `"caller":{}`, "one way to write it")
}
