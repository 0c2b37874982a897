package keystore

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/node/ethereum/validator"
)

// cheap is PBKDF2 that costs nothing, for tests in which the cost does not matter.
var cheap = kdfParams{DKLen: derivedLength, C: 1, PRF: pseudorandom}

func cheapOptions() Options { return Options{params: &cheap, disk: hastyDisk{}} }

// hastyDisk is a real disk without syncs, which only matter to a real power cut.
type hastyDisk struct{ realDisk }

func (hastyDisk) syncFolder(path string) error {
	_, err := os.Stat(path)
	return err
}

func (hastyDisk) writeFile(path string, data []byte) error { return os.WriteFile(path, data, fileMode) }

// errDisk is what a failing disk answers.
var errDisk = errors.New("no space left on device")

// failingDisk fails at one step or, if the process is to be killed there, at that
// and every later one. A write that fails leaves half of its data.
type failingDisk struct {
	mu     sync.Mutex
	steps  int
	failAt int
	killed bool
}

func (d *failingDisk) step() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.steps++
	if d.steps == d.failAt || (d.killed && d.failAt > 0 && d.steps > d.failAt) {
		return fmt.Errorf("step %d: %w", d.steps, errDisk)
	}
	return nil
}

func (d *failingDisk) do(work func() error) error {
	if err := d.step(); err != nil {
		return err
	}
	return work()
}

func (d *failingDisk) writeFile(path string, data []byte) error {
	if err := d.step(); err != nil {
		return errors.Join(err, os.WriteFile(path, data[:len(data)/2], fileMode))
	}
	return hastyDisk{}.writeFile(path, data)
}

func (d *failingDisk) mkdir(path string) error {
	return d.do(func() error { return realDisk{}.mkdir(path) })
}

func (d *failingDisk) syncFolder(path string) error {
	return d.do(func() error { return hastyDisk{}.syncFolder(path) })
}

func (d *failingDisk) rename(from, to string) error {
	return d.do(func() error { return os.Rename(from, to) })
}

func (d *failingDisk) chmod(path string, mode os.FileMode) error {
	return d.do(func() error { return os.Chmod(path, mode) })
}

func (d *failingDisk) remove(path string) error {
	return d.do(func() error { return os.Remove(path) })
}

// testKeys returns the first n of an endless row of keys.
func testKeys(t testing.TB, n int) []Key {
	t.Helper()
	keys := make([]Key, n)
	for i := range keys {
		raw := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
		raw[0] = 0
		secret, err := validator.SecretKeyFromBytes(raw[:])
		require.NoError(t, err)
		keys[i] = Key{Secret: secret, Path: validator.SigningPath(uint64(i))}
	}
	return keys
}

func publicKeys(keys []Key) []string {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = key.Secret.PublicKey().String()
	}
	slices.Sort(names)
	return names
}

// requireHolds reads a folder back and compares secrets with keys.
func requireHolds(t *testing.T, dir string, keys []Key) {
	t.Helper()
	entries, err := Read(t.Context(), dir)
	require.NoError(t, err)
	want := map[validator.PublicKey]Key{}
	for _, key := range keys {
		want[key.Secret.PublicKey()] = key
	}
	require.Len(t, entries, len(keys))
	for _, entry := range entries {
		key, asked := want[entry.PublicKey]
		require.True(t, asked, "key %s", entry.PublicKey)
		require.Equal(t, key.Secret.Bytes(), entry.Secret.Bytes())
	}
}

// tree lists a folder as "mode name", without the manifest's content.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := entry.Info()
		name, _ := filepath.Rel(dir, path)
		lines = append(lines, info.Mode().String()+" "+filepath.ToSlash(name))
		return err
	})
	if !errors.Is(err, fs.ErrNotExist) {
		require.NoError(t, err)
	}
	return lines
}

// textMark stands before a file's bytes in what contents returns.
const textMark = " text: "

// contents maps every file and folder to its time, mode and bytes.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, line := range tree(t, dir) {
		name := line[strings.Index(line, " ")+1:]
		path := filepath.Join(dir, name)
		info, err := os.Lstat(path)
		require.NoError(t, err)
		text := ""
		if info.Mode().IsRegular() {
			raw, err := os.ReadFile(path)
			require.NoError(t, err)
			text = string(raw)
		}
		out[name] = info.Mode().String() + " " + info.ModTime().String() + textMark + text
	}
	return out
}

func put(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func mustWrite(t *testing.T, dir string, layout Layout, keys []Key) Result {
	t.Helper()
	result, err := Write(t.Context(), dir, layout, keys, cheapOptions())
	require.NoError(t, err)
	return result
}

func forEachLayout(t *testing.T, test func(t *testing.T, layout Layout)) {
	t.Helper()
	for _, layout := range Layouts() {
		t.Run(string(layout), func(t *testing.T) {
			t.Parallel()
			test(t, layout)
		})
	}
}
