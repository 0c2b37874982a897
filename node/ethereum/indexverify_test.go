package ethereum

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// writeIndex makes a file with so many events and checkpoints.
func writeIndex(t *testing.T, path string, events int) {
	t.Helper()
	f, err := openIndexFile(path, false)
	require.NoError(t, err)
	for from := 0; from < events; from += 100 {
		require.NoError(t, f.change(func(c *change) error {
			for i := from; i < min(from+100, events); i++ {
				key, value := sampleEvent(i).row()
				if err := c.set(bucketEvents, key, value); err != nil {
					return err
				}
			}
			key, value := checkpoint{number: uint64(from), next: uint64(from)}.row()
			return c.set(bucketBlocks, key, value)
		}))
	}
	require.NoError(t, f.close())
}

func sampleEvent(i int) seenEvent {
	f := &fakeChain{perBlock: 3}
	number := uint64(i)/3 + 1
	return seenEvent{key: f.key(uint64(i)), place: place{BlockNumber: number, BlockHash: f.hash(number), TxHash: common.Hash{byte(i)}}}
}

// readable reports whether the file is taken, and then checks all that is in it:
// with a header that is gone it is as it was before its last change.
func readable(t require.TestingT, path string, events int) bool {
	f, err := openIndexFile(path, false)
	if err != nil {
		require.ErrorIs(t, err, errDamagedIndex)
		return false
	}
	defer func() { require.NoError(t, f.close()) }()
	content, err := f.load()
	require.NoError(t, err)
	require.LessOrEqual(t, content.events, uint64(events))
	require.Len(t, content.read, int(content.events)/100, "events and how far reading has come")
	for i := range int(content.events) {
		seen, err := f.seen(sampleEvent(i).key)
		require.NoError(t, err)
		require.Equal(t, []seenEvent{sampleEvent(i)}, seen)
	}
	return true
}

func TestDamagedIndex(t *testing.T) {
	t.Parallel()
	const events = 300
	path := filepath.Join(t.TempDir(), "events.db")
	writeIndex(t, path, events)
	sound, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, readable(t, path, events))
	page := os.Getpagesize()
	for name, damage := range map[string]func([]byte) []byte{
		"half of it":              func(b []byte) []byte { return b[:len(b)/2] },
		"one page":                func(b []byte) []byte { return b[:page] },
		"a few bytes":             func(b []byte) []byte { return b[:10] },
		"something else":          func([]byte) []byte { return bytes.Repeat([]byte("not a database"), 1000) },
		"zeros":                   func(b []byte) []byte { return make([]byte, len(b)) },
		"zeros in it":             func(b []byte) []byte { clear(b[4*page : 12*page]); return b },
		"a wrong header":          func(b []byte) []byte { b[page+40]++; b[40]++; return b },
		"a wrong value":           func(b []byte) []byte { return bytes.ReplaceAll(b, hashOf(5), hashOf(6)) },
		"a branch leads too low":  func(b []byte) []byte { return branchKey(b, 0x00) },
		"a branch leads too high": func(b []byte) []byte { return branchKey(b, 0xff) },
		"a row is hidden":         func(b []byte) []byte { return bytes.ReplaceAll(b, keyOf(7), keyOf(8)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "events.db")
			require.NoError(t, os.WriteFile(path, damage(bytes.Clone(sound)), 0o600))
			require.False(t, readable(t, path, events))
		})
	}
}

// branchKey changes the second key of the branch page of events: rows would be
// looked for on the wrong side of it.
func branchKey(b []byte, first byte) []byte {
	page := os.Getpagesize()
	for at := 2 * page; at < len(b); at += page {
		if binary.LittleEndian.Uint16(b[at+8:]) == branchPage && binary.LittleEndian.Uint16(b[at+10:]) > 1 {
			entry := at + 2*pageHeader
			b[entry+int(binary.LittleEndian.Uint32(b[entry:]))] = first
		}
	}
	return b
}

func hashOf(i int) []byte { h := sampleEvent(i).BlockHash; return h[:] }

func keyOf(i int) []byte { k := sampleEvent(i).key; return k[:] }

// Whatever bytes change, the file is refused, or nothing in it has changed.
func TestAnyDamage(t *testing.T) {
	t.Parallel()
	const events = 200
	folder := t.TempDir()
	writeIndex(t, filepath.Join(folder, "sound"), events)
	sound, err := os.ReadFile(filepath.Join(folder, "sound"))
	require.NoError(t, err)
	path := filepath.Join(folder, "changed")
	rapid.Check(t, func(t *rapid.T) {
		changed := bytes.Clone(sound)
		if rapid.Bool().Draw(t, "cut") {
			changed = changed[:rapid.IntRange(1, len(changed)).Draw(t, "length")]
		}
		for range rapid.IntRange(0, 3).Draw(t, "bytes") {
			// Where pages begin, most can go wrong.
			at := rapid.IntRange(0, len(changed)/os.Getpagesize()).Draw(t, "page")*os.Getpagesize() +
				rapid.OneOf(rapid.IntRange(0, 15), rapid.IntRange(0, 200)).Draw(t, "at")
			if rapid.Bool().Draw(t, "anywhere") {
				at = rapid.IntRange(0, len(changed)-1).Draw(t, "byte")
			}
			if at < len(changed) {
				changed[at] ^= rapid.OneOf(rapid.Byte(), rapid.ByteRange(1, 3)).Draw(t, "change")
			}
		}
		require.NoError(t, os.WriteFile(path, changed, 0o600))
		readable(t, path, events)
	})
}

// A damaged index is read anew, on its own.
func TestDamagedIndexIsReadAnew(t *testing.T) {
	t.Parallel()
	s := newIndexScene(t, 300, 3)
	x := s.open()
	s.finish(x)
	require.NoError(t, x.Close())
	file, err := os.ReadFile(s.cfg.IndexFile)
	require.NoError(t, err)
	clear(file[len(file)/3:])
	require.NoError(t, os.WriteFile(s.cfg.IndexFile, file, 0o600))
	x = s.open()
	s.finish(x)
	s.requireAll(x)
	require.Contains(t, s.log.String(), "is damaged and is read anew")
}

// What bbolt finds damaged while it runs is read anew as well.
func TestIndexDamagedWhileOpen(t *testing.T) {
	t.Parallel()
	s := newIndexScene(t, 1000, 3)
	x := s.open()
	s.finish(x)
	file, err := os.OpenFile(s.cfg.IndexFile, os.O_RDWR, 0)
	require.NoError(t, err)
	defer file.Close()
	info, err := file.Stat()
	require.NoError(t, err)
	_, err = file.WriteAt(make([]byte, info.Size()-4096*3), 4096*3)
	require.NoError(t, err)
	var failed error
	for i := range s.count(s.head) {
		if _, failed = x.seen(s.key(i)); failed != nil {
			break
		}
	}
	requireWaits(t, failed, IndexFailed, "damaged")
	s.finish(x)
	s.requireAll(x)
}

// The sum does not depend on the order of changes, and forgets what was taken away.
func TestRowsSum(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.SliceOfNDistinct(rapid.StringN(1, 5, -1), 1, 10, rapid.ID[string]).Draw(t, "rows")
		var forward, backward, empty rowsSum
		for i := range rows {
			forward.add(bucketEvents, []byte(rows[i]), []byte{1})
			backward.add(bucketEvents, []byte(rows[len(rows)-1-i]), []byte{1})
		}
		require.Equal(t, forward, backward)
		for _, row := range rows {
			forward.subtract(bucketEvents, []byte(row), []byte{1})
		}
		require.Equal(t, empty, forward)
	})
}
