package audit

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// drawChain makes records that follow from each other.
func drawChain(t *rapid.T, anchor Head) []Record {
	text := rapid.SampledFrom([]string{"", "a", "b", "key.disclose", "<&>\u2028", "é"})
	var list []Record
	for i := range rapid.IntRange(2, 8).Draw(t, "records") {
		r := Record{
			Seq: anchor.Seq + uint64(i) + 1, Index: rapid.Uint64Range(0, 9).Draw(t, "index"), WallMs: rapid.Int64().Draw(t, "wall"),
			RequestID: text.Draw(t, "request"), Action: text.Draw(t, "action"), Object: text.Draw(t, "object"), Detail: text.Draw(t, "detail"),
			Caller: map[string]string{},
		}
		if rapid.Bool().Draw(t, "new") {
			r.Version, r.Term, r.Outcome = Version, rapid.Uint64Range(0, 9).Draw(t, "term"), text.Draw(t, "outcome")
			r.Caller["auth"] = text.Draw(t, "auth")
		}
		for _, name := range []string{CallerName, CallerRole, CallerRemote} {
			if v := text.Draw(t, name); v != "" {
				r.Caller[name] = v
			}
		}
		list = append(list, r)
	}
	seal(list, anchor)
	return list
}

func seal(list []Record, anchor Head) {
	before := anchor.Hash
	for i := range list {
		sum, err := list[i].Sum(before)
		if err != nil {
			panic(err)
		}
		list[i].Hash, before = sum, sum
	}
}

// verify follows the records from the anchor up to a head that was noted.
func verify(anchor, head Head, list []Record) error {
	c := NewChain(anchor)
	c.Expect(head)
	for _, r := range list {
		if err := c.Next(r); err != nil {
			return err
		}
	}
	if left := c.Unseen(); len(left) > 0 {
		return &BrokenError{Seq: left[0].Seq, Why: "cut back"}
	}
	return nil
}

// TestTamperingIsFound changes one thing in a good chain: any field of any
// record, in any way, a record that is dropped, doubled, put in or swapped.
func TestTamperingIsFound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		anchor := Head{}
		if rapid.Bool().Draw(t, "anchored") {
			anchor = Head{Seq: 7, Hash: bytes.Repeat([]byte{7}, 32)}
		}
		list := drawChain(t, anchor)
		head := Head{Seq: list[len(list)-1].Seq, Hash: list[len(list)-1].Hash}
		require.NoError(t, verify(anchor, head, list))
		at := rapid.IntRange(0, len(list)-1).Draw(t, "at")
		bad := slices.Clone(list)
		switch rapid.SampledFrom([]string{"field", "drop", "double", "swap", "insert", "rewrite"}).Draw(t, "how") {
		case "field":
			bad[at] = tamper(t, list[at])
		case "drop":
			bad = slices.Delete(bad, at, at+1)
		case "double":
			bad = slices.Insert(bad, at, bad[at])
		case "swap":
			other := (at + 1) % len(bad)
			bad[at], bad[other] = bad[other], bad[at]
		case "insert":
			extra := bad[at]
			extra.Seq = rapid.Uint64Range(0, 20).Draw(t, "seq")
			bad = slices.Insert(bad, rapid.IntRange(0, len(bad)).Draw(t, "before"), extra)
		case "rewrite": // all of it anew, and rightly chained: only the noted head shows it
			bad[at].Detail += "."
			seal(bad, anchor)
		}
		var broken *BrokenError
		require.ErrorAs(t, verify(anchor, head, bad), &broken)
		require.LessOrEqual(t, broken.Seq, head.Seq+1)
	})
}

// tamper changes one byte or bit of one field, whatever fields a record has.
func tamper(t *rapid.T, r Record) Record {
	v := reflect.ValueOf(&r).Elem()
	f := v.Field(rapid.IntRange(0, v.NumField()-1).Draw(t, "field"))
	switch f.Kind() {
	case reflect.Uint64, reflect.Uint32:
		f.SetUint(f.Uint() ^ 1<<rapid.IntRange(0, 31).Draw(t, "bit"))
	case reflect.Int64:
		f.SetInt(f.Int() ^ 1<<rapid.IntRange(0, 62).Draw(t, "bit"))
	case reflect.String:
		f.SetString(f.String() + rapid.SampledFrom([]string{"x", "\x00", " "}).Draw(t, "more"))
	case reflect.Slice:
		changed := bytes.Clone(f.Bytes())
		changed[rapid.IntRange(0, len(changed)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		f.SetBytes(changed)
	case reflect.Map:
		caller := map[string]string{}
		for name, value := range r.Caller {
			caller[name] = value
		}
		name := rapid.SampledFrom([]string{CallerName, CallerRole, CallerRemote, "auth", "new"}).Draw(t, "name")
		caller[name] += rapid.SampledFrom([]string{"x", ""}).Draw(t, "value")
		if reflect.DeepEqual(caller, r.Caller) {
			delete(caller, name)
		}
		if reflect.DeepEqual(caller, r.Caller) {
			caller["new"] = "x"
		}
		f.Set(reflect.ValueOf(caller))
	default:
		t.Fatalf("a field of a kind that is new here: %s", f.Kind())
	}
	return r
}

func TestAnchors(t *testing.T) {
	t.Parallel()
	list := []Record{{Seq: 5, Action: "a"}, {Seq: 6, Action: "b"}, {Seq: 9, Action: "c"}}
	anchor := Head{Seq: 4, Hash: bytes.Repeat([]byte{4}, 32)}
	seal(list[:2], anchor)
	unknown := NewChain(Head{Seq: 4})
	require.NoError(t, unknown.Next(list[0]), "taken at its word")
	require.NoError(t, unknown.Next(list[1]))
	var broken *BrokenError
	require.ErrorAs(t, unknown.Skip(anchor), &broken, "an anchor that goes back")
	later := Head{Seq: 8, Hash: bytes.Repeat([]byte{8}, 32)}
	seal(list[2:], later)
	unknown.Expect(Head{Seq: 7, Hash: later.Hash})
	require.NoError(t, unknown.Skip(later))
	require.NoError(t, unknown.Next(list[2]))
	require.Equal(t, Head{Seq: 9, Hash: list[2].Hash}, unknown.Head())
	require.Len(t, unknown.Unseen(), 1, "it was skipped")
	noted := NewChain(Head{})
	noted.Expect(Head{Seq: 8, Hash: anchor.Hash})
	require.ErrorContains(t, noted.Skip(later), "history was rewritten")
	require.ErrorIs(t, NewChain(Head{}).Next(Record{Seq: 1, Version: Version + 1}), ErrVersion)
}

func TestHeadsAsText(t *testing.T) {
	t.Parallel()
	h := Head{Seq: 12, Hash: bytes.Repeat([]byte{0xab}, 32)}
	again, err := ParseHead(h.String())
	require.NoError(t, err)
	require.Equal(t, h, again)
	none, err := ParseHead(Head{}.String())
	require.NoError(t, err)
	require.Equal(t, Head{}, none)
	mark, err := ParseMark("12:")
	require.NoError(t, err)
	require.Equal(t, Head{Seq: 12}, mark)
	for _, text := range []string{"", "12", "12:", ":", "x:" + h.Hash.String(), "0:" + h.Hash.String(), "-1:" + h.Hash.String(), "12:" + h.Hash.String()[:40], "12:0xAB", "1 2:" + h.Hash.String()} {
		_, err := ParseHead(text)
		require.ErrorContains(t, err, "want SEQ:HASH", text)
	}
	text, err := json.Marshal(Head{})
	require.NoError(t, err)
	require.JSONEq(t, `{"seq":0,"hash":""}`, string(text))
}

// TestEveryFieldIsCovered alters each field of a record in turn, and each part
// of its caller.
func TestEveryFieldIsCovered(t *testing.T) {
	t.Parallel()
	for version := range uint32(Version + 1) {
		list := []Record{{Seq: 1, Action: "a"}, {
			Seq: 2, Index: 3, WallMs: 5, Version: version, Caller: map[string]string{CallerName: "n", CallerRole: "r", CallerRemote: "a"},
			RequestID: "q", Action: "x", Object: "o", Detail: "d",
		}, {Seq: 3}}
		if version > 0 {
			list[1].Term, list[1].Outcome = 4, OutcomeDone
		}
		seal(list, Head{})
		head := Head{Seq: 3, Hash: list[2].Hash}
		require.NoError(t, verify(Head{}, head, list))
		check := func(what string, change func(r *Record)) {
			bad := slices.Clone(list)
			bad[1].Caller = maps.Clone(list[1].Caller)
			change(&bad[1])
			require.Error(t, verify(Head{}, head, bad), "version %d: %s was altered", version, what)
		}
		for i := range reflect.TypeFor[Record]().NumField() {
			check(reflect.TypeFor[Record]().Field(i).Name, func(r *Record) {
				switch f := reflect.ValueOf(r).Elem().Field(i); f.Kind() {
				case reflect.Uint64, reflect.Uint32:
					f.SetUint(f.Uint() + 1)
				case reflect.Int64:
					f.SetInt(-f.Int())
				case reflect.String:
					f.SetString(f.String() + ".")
				case reflect.Slice:
					f.SetBytes(append([]byte{f.Bytes()[0] ^ 1}, f.Bytes()[1:]...))
				default:
					f.SetZero()
				}
			})
		}
		for _, name := range []string{CallerName, CallerRole, CallerRemote, "new"} {
			check("caller's "+name, func(r *Record) { r.Caller[name] += "x" })
			check("caller's "+name, func(r *Record) {
				if r.Caller["renamed"] = r.Caller[name]; name != "new" {
					delete(r.Caller, name)
				}
			})
		}
		check("what is before a border", func(r *Record) { r.Object, r.Detail = "", "od" })
		check("two parts of the caller", func(r *Record) { r.Caller[CallerName], r.Caller[CallerRole] = "r", "n" })
	}
}
