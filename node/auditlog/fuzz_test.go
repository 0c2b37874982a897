package auditlog

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/fsm/audit"
)

// FuzzOutput: whatever stands in the file, it is refused and left as it is, or only what
// comes after its last whole line is cut off.
func FuzzOutput(f *testing.F) {
	for _, seed := range []string{"", "\n", "thesis\n", `{"seq":`, "{\"seq\":1}\n", "\x00\x00\x00", "{\"gap\":{}}\n{\"se", "{\"seq\":1}\n\x00\x00\n", "\x00\n\x00\n0"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		require.NoError(t, os.WriteFile(path, content, 0o600))
		o, _, err := openOutput(path)
		left, readErr := os.ReadFile(path)
		require.NoError(t, readErr)
		if err != nil {
			require.Equal(t, content, left)
			return
		}
		require.NoError(t, o.close())
		require.True(t, bytes.HasPrefix(content, left))
		require.True(t, len(left) == 0 || left[len(left)-1] == '\n')
		lines := bytes.Split(content[len(left):], []byte("\n"))
		for _, line := range lines[:len(lines)-1] {
			require.Contains(t, string(line), "\x00", "a whole line was cut off")
		}
	})
}

// FuzzState: whatever stands in the file of the place, it is a place or an error.
func FuzzState(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("1:" + "ab\n"))
	f.Add([]byte(audit.Head{}.String()))
	f.Add([]byte(audit.Head{}.String() + " 3"))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "state")
		require.NoError(t, os.WriteFile(path, content, 0o600))
		h, restores, err := readState(path)
		if err != nil {
			return
		}
		require.NoError(t, writeState(path, h, restores))
		again, number, err := readState(path)
		require.NoError(t, err)
		require.Equal(t, h, again)
		require.Equal(t, restores, number)
	})
}
