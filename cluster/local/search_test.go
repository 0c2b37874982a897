package local

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// This file searches for secrets in all the forms in which they could be written.

// secret is something that must not be found, in all the forms in which it could be.
type secret struct {
	name  string
	forms [][]byte
}

// halfSecret is how much of a secret is enough to be found by.
const halfSecret = 16

// secretBytes is a binary secret: its first 16 bytes and its last, in every form.
func secretBytes(name string, value []byte) secret {
	half := min(halfSecret, len(value))
	return secret{name: name, forms: append(formsOf(value[:half]), formsOf(value[len(value)-half:])...)}
}

// formsOf is a value as programs write it: raw, backwards (little-endian numbers),
// in hexadecimal, in base64 wherever it begins in what was encoded, and as Go prints
// bytes: as decimals, in its own syntax, quoted, and as words and bytes of a stack.
func formsOf(value []byte) [][]byte {
	backwards := slices.Clone(value)
	slices.Reverse(backwards)
	digits, decimals := hex.EncodeToString(value), strings.Trim(fmt.Sprintf("%d", value), "[]")
	var syntax, quoted []string
	for _, b := range value {
		syntax, quoted = append(syntax, fmt.Sprintf("%#x", b)), append(quoted, fmt.Sprintf(`\x%02x`, b))
	}
	forms := [][]byte{
		slices.Clone(value), backwards, []byte(digits), []byte(strings.ToUpper(digits)), []byte(hex.EncodeToString(backwards)),
		[]byte(decimals), []byte(strings.ReplaceAll(decimals, " ", ",")),
		[]byte(strings.Join(syntax[:min(8, len(syntax))], ", ")), []byte(strings.Join(quoted, "")), []byte(strings.Trim(strconv.Quote(string(value)), `"`)),
	}
	if len(value) >= 8 {
		word := value[:8]
		forms = append(forms, fmt.Appendf(nil, "%#x", binary.LittleEndian.Uint64(word)), fmt.Appendf(nil, "%#x", binary.BigEndian.Uint64(word)))
	}
	for shift := range 3 {
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			// Only whole groups of three bytes depend on nothing around them.
			whole := value[(3-shift)%3:]
			forms = append(forms, []byte(encoding.EncodeToString(whole[:len(whole)/3*3])))
		}
	}
	return forms
}

func secretText(name, text string) secret {
	s := secretBytes(name, []byte(text))
	s.forms = append(s.forms, []byte(text))
	return s
}

// foundIn returns whether any form is in the content.
func (s secret) foundIn(content []byte) bool { return len(newSearcher([]secret{s}).in(content)) > 0 }

// searcher looks for thousands of forms at once: a set of the four bytes with which
// they begin tells for almost every byte of a content that nothing begins there.
type searcher struct {
	begins  [1 << 20 / 64]uint64
	forms   map[uint32][]form
	overlap int // how much of a stream's end could be the beginning of a form
}

type form struct {
	secret string
	bytes  []byte
}

func newSearcher(secrets []secret) *searcher {
	s := &searcher{forms: map[uint32][]form{}}
	for _, one := range secrets {
		for _, text := range one.forms {
			first := binary.BigEndian.Uint32(text) // no form is shorter
			s.forms[first] = append(s.forms[first], form{one.name, text})
			s.begins[beginning(first)/64] |= 1 << (beginning(first) % 64)
			s.overlap = max(s.overlap, len(text)-1)
		}
	}
	return s
}

func beginning(first uint32) uint32 { return first * 0x9e3779b1 >> 12 }

// in returns the names of what is found.
func (s *searcher) in(content []byte) map[string]bool {
	found := map[string]bool{}
	var last uint32
	for i, b := range content {
		last = last<<8 | uint32(b)
		if at := beginning(last); i < 3 || s.begins[at/64]&(1<<(at%64)) == 0 {
			continue
		}
		for _, f := range s.forms[last] {
			if rest := content[i-3:]; len(rest) >= len(f.bytes) && string(rest[:len(f.bytes)]) == string(f.bytes) {
				found[f.secret] = true
			}
		}
	}
	return found
}

// stream is an io.Writer that searches what is written to it, however it is cut.
type stream struct {
	searcher *searcher
	found    map[string]bool
	size     int64
	window   []byte
}

func (s *searcher) stream() *stream { return &stream{searcher: s, found: map[string]bool{}} }

func (w *stream) Write(p []byte) (int, error) {
	w.size += int64(len(p))
	w.window = append(w.window, p...)
	for name := range w.searcher.in(w.window) {
		w.found[name] = true
	}
	w.window = append(w.window[:0], w.window[max(0, len(w.window)-w.searcher.overlap):]...)
	return len(p), nil
}

// places are what was searched: what each of them held, by name.
type places map[string]*stream

func (p places) add(s *searcher, place string, content []byte) {
	if p[place] == nil {
		p[place] = s.stream()
	}
	_, _ = p[place].Write(content) // never fails
}

// addFile searches a file piece by piece.
func (p places) addFile(s *searcher, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	w := s.stream()
	p[path] = w
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{file}, make([]byte, 1<<20))
	return err
}

// addFolder searches all files of a folder.
func (p places) addFolder(t *testing.T, s *searcher, dir string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		return p.addFile(s, path)
	}))
}

// addProcess searches what everybody can see of a process, and its environment.
func (p places) addProcess(t *testing.T, s *searcher, pid int) {
	t.Helper()
	for _, name := range []string{"cmdline", "environ"} {
		require.NoError(t, p.addFile(s, fmt.Sprintf("/proc/%d/%s", pid, name)))
	}
}

// requireNone holds if nothing was found but what is to be found: names that begin
// with "control".
func (p places) requireNone(t *testing.T) {
	t.Helper()
	var finds []string
	for place, w := range p {
		for name := range w.found {
			if !strings.HasPrefix(name, "control") {
				finds = append(finds, name+" is in "+place)
			}
		}
	}
	slices.Sort(finds)
	require.Empty(t, finds, "secrets were found")
}

// requireFound holds if a control was found in a place, so that the search there
// finds what is there.
func (p places) requireFound(t *testing.T, control, place string) {
	t.Helper()
	require.Contains(t, p, place, "it was not searched")
	require.True(t, p[place].found[control], "%s is not found in %s, of %d bytes", control, place, p[place].size)
}

// requireFoundIn is requireFound for any file of a folder.
func (p places) requireFoundIn(t *testing.T, control, folder string) {
	t.Helper()
	searched := 0
	for place, s := range p {
		if strings.HasPrefix(place, folder+string(filepath.Separator)) {
			searched++
			if s.found[control] {
				return
			}
		}
	}
	require.Fail(t, control+" is not found", "in the %d files of %s that were searched", searched, folder)
}

func exampleSecret() []byte {
	value := make([]byte, 48)
	for i := range value {
		value[i] = byte(0xd0 + i*7)
	}
	return value
}

// TestSearchFindsSecrets makes sure that the search would find something.
func TestSearchFindsSecrets(t *testing.T) {
	t.Parallel()
	value := exampleSecret()
	s := secretBytes("example", value)
	backwards := slices.Clone(value)
	slices.Reverse(backwards)
	for name, content := range map[string][]byte{
		"raw":            append([]byte("before"), value...),
		"little-endian":  backwards,
		"hexadecimal":    []byte("0x" + hex.EncodeToString(value)),
		"upper case":     []byte(strings.ToUpper(hex.EncodeToString(value))),
		"%v":             fmt.Append(nil, value),
		"%#v":            fmt.Appendf(nil, "%#v", value),
		"%q":             fmt.Appendf(nil, "%q", value),
		"JSON array":     bytes.ReplaceAll(fmt.Append(nil, value), []byte(" "), []byte(",")),
		"word of stacks": fmt.Appendf(nil, "f(0x2, %#x, 0x4)", binary.LittleEndian.Uint64(value)),
		"first half":     value[:20],
		"second half":    value[28:],
	} {
		require.True(t, s.foundIn(content), name)
	}
	for before := range 6 {
		content := append(make([]byte, before), value...)
		require.True(t, s.foundIn([]byte(base64.StdEncoding.EncodeToString(content))), "base64 after %d bytes", before)
		require.True(t, s.foundIn([]byte(base64.URLEncoding.EncodeToString(content))), "base64url after %d bytes", before)
	}
	require.False(t, s.foundIn(make([]byte, 1000)))
	require.True(t, secretText("words", "abandon ability able about").foundIn([]byte(`{"words":"abandon ability able about"}`)))
}

// However a stream is cut, what is in it is found.
func TestSearchAcrossPieces(t *testing.T) {
	t.Parallel()
	value := exampleSecret()
	s := newSearcher([]secret{secretBytes("example", value), secretBytes("other", []byte("not there at all"))})
	content := append(append([]byte("before"), value...), "behind"...)
	for size := 1; size <= len(content); size++ {
		w := s.stream()
		for piece := range slices.Chunk(content, size) {
			_, _ = w.Write(piece)
		}
		require.Equal(t, map[string]bool{"example": true}, w.found, "pieces of %d", size)
	}
}

// One secret is planted in each kind of place, and found there and nowhere else.
func TestSearchFindsWhatIsPlanted(t *testing.T) {
	t.Parallel()
	dir, text := t.TempDir(), hex.EncodeToString(exampleSecret())
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "data", "snapshots"), 0o700))
	large := append(make([]byte, 1<<20-10), exampleSecret()...) // it lies across two pieces
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data", "snapshots", "state.bin"), large, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "log"), []byte("level=DEBUG token="+text+"\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "innocent"), []byte("nothing"), 0o600))

	spawned := newSpawner()
	defer spawned.close()
	log, err := os.Create(filepath.Join(dir, "output"))
	require.NoError(t, err)
	defer log.Close()
	child, err := startProcess(t.Context(), spawned, "child", os.Args[0], []string{"polite", text}, []string{"PASSWORD=" + text}, log)
	require.NoError(t, err)
	defer func() { require.NoError(t, child.signal(os.Kill)); <-child.done }()

	s, p := newSearcher([]secret{secretBytes("example", exampleSecret())}), places{}
	p.addFolder(t, s, dir)
	p.addProcess(t, s, child.pid())
	for place, w := range p {
		require.Equal(t, !strings.HasSuffix(place, "innocent") && !strings.HasSuffix(place, "output"), w.found["example"], place)
	}
	require.Len(t, p, 6)
}
