package memdb

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// word is a row: words are ordered by ID and, if they have a rank, by rank.
type word struct {
	id   string
	rank string
}

type byField func(w *word) (string, bool)

var errNoWord = errors.New("no word")

// FromObject implements Indexer.
func (f byField) FromObject(row any) (bool, []byte, error) {
	w, ok := row.(*word)
	if !ok {
		return false, nil, errNoWord
	}
	key, ok := f(w)
	return ok, []byte(key), nil
}

func byID(w *word) (string, bool) { return w.id, w.id != "" }

// byRank has the ID in the key too, as no two rows may share one.
func byRank(w *word) (string, bool) { return w.rank + "\x00" + w.id, w.rank != "" }

func wordSchema() *DBSchema {
	return &DBSchema{Tables: map[string]*TableSchema{
		"words": {Name: "words", WatchRows: true, Indexes: map[string]*IndexSchema{
			IDIndex: {Name: IDIndex, Indexer: byField(byID)},
			"rank":  {Name: "rank", AllowMissing: true, Indexer: byField(byRank)},
		}},
		"others": {Name: "others", Indexes: map[string]*IndexSchema{
			IDIndex: {Name: IDIndex, Indexer: byField(byID)},
		}},
	}}
}

func newWords(t rapid.TB) *MemDB {
	t.Helper()
	db, err := NewMemDB(wordSchema())
	require.NoError(t, err)
	return db
}

// all lists the rows of an index.
func all(t rapid.TB, txn *Txn, index, begin string) []word {
	t.Helper()
	var list []word
	require.NoError(t, txn.Prefix("words", index, []byte(begin), func(row any) bool {
		list = append(list, *row.(*word)) //nolint:forcetypeassert // of this table
		return true
	}))
	return list
}

// ranked is what the index by rank has to have of these words.
func ranked(words map[string]word) []word {
	var list []word
	for _, w := range words {
		if w.rank != "" {
			list = append(list, w)
		}
	}
	slices.SortFunc(list, func(a, b word) int { return cmp.Compare(a.rank+"\x00"+a.id, b.rank+"\x00"+b.id) })
	return list
}

func sorted(words map[string]word) []word {
	list := slices.Collect(maps.Values(words))
	slices.SortFunc(list, func(a, b word) int { return cmp.Compare(a.id, b.id) })
	return list
}

// same holds what a transaction sees against a map.
func same(t rapid.TB, txn *Txn, words map[string]word) {
	t.Helper()
	require.Equal(t, sorted(words), all(t, txn, IDIndex, ""))
	require.Equal(t, ranked(words), all(t, txn, "rank", ""))
	low, err := txn.Lowest("words", "rank")
	require.NoError(t, err)
	if list := ranked(words); len(list) > 0 {
		require.Equal(t, &list[0], low)
		require.Equal(t, list[0].rank != "", len(all(t, txn, "rank", list[0].rank)) > 0)
	} else {
		require.Nil(t, low)
	}
	for id, w := range words {
		row, err := txn.First("words", IDIndex, []byte(id))
		require.NoError(t, err)
		require.Equal(t, &w, row)
	}
}

// picture is what was to be seen at some moment, and still is.
type picture struct {
	txn   *Txn
	words map[string]word
}

// TestPictures changes a table at random and compares it, and every moment that somebody
// still looks at, with plain maps.
func TestPictures(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		db := newWords(t)
		words := map[string]word{}
		var pictures []picture
		for range rapid.IntRange(1, 12).Draw(t, "transactions") {
			txn, next := db.Txn(true), maps.Clone(words)
			for range rapid.IntRange(0, 40).Draw(t, "changes") {
				alter(t, txn, next)
			}
			same(t, txn, next)
			same(t, db.Txn(false), words) // not yet
			if rapid.Bool().Draw(t, "commit") {
				txn.Commit()
				words = next
			}
			txn.Abort() // nothing, after a commit
			pictures = append(pictures, picture{db.Txn(false), maps.Clone(words)})
			for _, p := range pictures {
				same(t, p.txn, p.words)
			}
		}
	})
}

// TestAppend fills empty tables, in order and out of it, and changes them after that.
func TestAppend(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		db, words := newWords(t), map[string]word{}
		txn := db.Txn(true)
		var list []word
		for i := range rapid.IntRange(0, 100).Draw(t, "words") {
			w := word{id: fmt.Sprintf("%03d", i), rank: rapid.SampledFrom([]string{"", "low", "high", strconv.Itoa(i)}).Draw(t, "rank")}
			list = append(list, w)
		}
		for range rapid.IntRange(0, 2).Draw(t, "out of order") {
			if len(list) > 0 {
				w := rapid.SampledFrom(list).Draw(t, "word")
				list = slices.Insert(list, rapid.IntRange(0, len(list)).Draw(t, "at"), word{id: w.id, rank: "again"})
			}
		}
		for _, w := range list {
			require.NoError(t, txn.Append("words", &w))
			words[w.id] = w
			if rapid.IntRange(0, 50).Draw(t, "look") == 0 {
				same(t, txn, words)
			}
		}
		for range rapid.IntRange(0, 10).Draw(t, "changes") {
			alter(t, txn, words)
		}
		same(t, db.Txn(false), nil)
		txn.Commit()
		same(t, db.Txn(false), words)
	})
}

// TestAppendSharedKey: of rows that have the same key in an index the last one is in it,
// as where they are inserted.
func TestAppendSharedKey(t *testing.T) {
	t.Parallel()
	schema := wordSchema()
	schema.Tables["words"].Indexes["rank"].Indexer = byField(func(w *word) (string, bool) { return w.rank, true })
	db, err := NewMemDB(schema)
	require.NoError(t, err)
	txn := db.Txn(true)
	for _, w := range []word{{"a", "same"}, {"b", "less"}, {"c", "same"}} {
		require.NoError(t, txn.Append("words", &w))
	}
	require.Equal(t, []word{{"b", "less"}, {"c", "same"}}, all(t, txn, "rank", ""))
	require.ErrorIs(t, txn.Append("words", 1), errNoWord)
	require.ErrorIs(t, txn.Append("nothing", &word{}), ErrTable)
	txn.Abort()
}

func alter(t *rapid.T, txn *Txn, words map[string]word) {
	// Keys shorter and longer than what is compared first, and beginnings of each other.
	id := rapid.SampledFrom([]string{"a", "a\x00", "ab", "aaaaaaaa", "aaaaaaaab", "aaaaaaaa\x00", "zzzzzzzzzzzz"}).Draw(t, "id") +
		strings.Repeat("x", rapid.IntRange(0, 30).Draw(t, "more"))
	if w, ok := words[id]; ok && rapid.Bool().Draw(t, "delete") {
		require.NoError(t, txn.Delete("words", &w))
		delete(words, id)
		return
	}
	w := word{id: id, rank: rapid.SampledFrom([]string{"", "1", "2", "a longer one"}).Draw(t, "rank")}
	require.NoError(t, txn.Insert("words", &w))
	words[id] = w
}

// TestChangesWhileIterating: an iteration goes over what was there when it began.
func TestChangesWhileIterating(t *testing.T) {
	t.Parallel()
	db := newWords(t)
	txn := db.Txn(true)
	defer txn.Abort()
	for i := range 100 {
		require.NoError(t, txn.Insert("words", &word{id: string(rune('a' + i)), rank: "1"}))
	}
	n := 0
	require.NoError(t, txn.Ascend("words", "rank", nil, func(row any) bool {
		w := *row.(*word) //nolint:forcetypeassert // of this table
		w.rank = ""
		require.NoError(t, txn.Insert("words", &w))
		n++
		return true
	}))
	require.Equal(t, 100, n)
	require.Empty(t, all(t, txn, "rank", ""))
	require.Len(t, all(t, txn, IDIndex, ""), 100)
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	db := newWords(t)
	view := db.Txn(false)
	words, err := view.Watch("words")
	require.NoError(t, err)
	others, err := view.Watch("others")
	require.NoError(t, err)
	row, err := view.WatchRow("words", []byte("a"))
	require.NoError(t, err)
	_, err = view.WatchRow("others", []byte("a"))
	require.ErrorIs(t, err, ErrSchema)

	aborted := db.Txn(true)
	require.NoError(t, aborted.Insert("words", &word{id: "a"}))
	aborted.Abort()
	require.False(t, closed(words) || closed(row) || closed(others))

	txn := db.Txn(true)
	require.NoError(t, txn.Insert("words", &word{id: "b"}))
	require.False(t, closed(words), "nothing is visible before it is committed")
	txn.Commit()
	require.True(t, closed(words))
	require.False(t, closed(row) || closed(others))

	txn = db.Txn(true)
	require.NoError(t, txn.Insert("words", &word{id: "a"}))
	txn.Commit()
	require.True(t, closed(row))
	late, err := view.WatchRow("words", []byte("a"))
	require.NoError(t, err)
	require.True(t, closed(late), "who looks at an old moment learns at once")
	row, err = db.Txn(false).WatchRow("words", []byte("a"))
	require.NoError(t, err)
	require.False(t, closed(row))
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	db := newWords(t)
	txn := db.Txn(true)
	defer txn.Abort()
	require.ErrorIs(t, txn.Insert("none", &word{id: "a"}), ErrTable)
	require.ErrorIs(t, txn.Insert("words", &word{}), ErrMissing)
	require.ErrorIs(t, txn.Insert("words", 1), errNoWord)
	require.ErrorIs(t, txn.Delete("words", &word{id: "a"}), ErrMissed)
	_, err := txn.First("words", "none", nil)
	require.ErrorIs(t, err, ErrIndex)
	_, err = NewMemDB(&DBSchema{Tables: map[string]*TableSchema{"t": {Name: "t"}}})
	require.ErrorIs(t, err, ErrSchema)
	require.Panics(t, func() { _ = db.Txn(false).Insert("words", &word{id: "a"}) })
}

// TestReadersBesideAWriter is for the race detector: a moment is one moment.
func TestReadersBesideAWriter(t *testing.T) {
	t.Parallel()
	db := newWords(t)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for !closed(stop) {
				txn := db.Txn(false)
				if a, b := len(all(t, txn, IDIndex, "")), len(all(t, txn, "rank", "")); a != b {
					t.Errorf("%d rows by ID and %d by rank", a, b)
					return
				}
			}
		})
	}
	for i := range 300 {
		txn := db.Txn(true)
		for j := range 5 {
			if err := txn.Insert("words", &word{id: string(rune('a'+i%50)) + string(rune('a'+j)), rank: "1"}); err != nil {
				t.Error(err)
			}
		}
		txn.Commit()
	}
	close(stop)
	readers.Wait()
}
