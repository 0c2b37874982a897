package seal

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseKEK(t *testing.T) {
	t.Parallel()
	for _, description := range []string{"", "file", "file:", "kms:x", keyOf("a"), "passphrase:" + keyOf("a")} {
		_, err := ParseKEK(description)
		require.ErrorIs(t, err, ErrKEK)
		require.NotContains(t, err.Error(), "aaaa", "a key given by mistake is repeated")
	}
	_, err := ParseKEK("file:/does/not/exist:yet")
	require.NoError(t, err)
}

func TestKeyFiles(t *testing.T) {
	t.Parallel()
	good := keyOf("a")
	for name, tc := range map[string]struct {
		content string
		mode    os.FileMode
		ok      bool
	}{
		"plain":             {good, 0o600, true},
		"newline":           {good + "\n", 0o400, true},
		"windows":           {good + "\r\n", 0o600, true},
		"capitals":          {keyOf("A"), 0o600, true},
		"group may read":    {good, 0o640, true},
		"world may read":    {good, 0o644, false},
		"world may write":   {good, 0o602, false},
		"empty":             {"", 0o600, false},
		"blank":             {"\n\n", 0o600, false},
		"short":             {good[2:], 0o600, false},
		"odd":               {good[1:], 0o600, false},
		"long":              {good + "aa", 0o600, false},
		"no hex":            {"x" + good[1:], 0o600, false},
		"prefix":            {"0x" + good[2:], 0o600, false},
		"raw bytes":         {strings.Repeat("\xaa", KeySize), 0o600, false},
		"two lines":         {good + "\n" + good, 0o600, false},
		"leading space":     {" " + good, 0o600, false},
		"very large":        {strings.Repeat(good, 1000), 0o600, false},
		"padded, too large": {good + strings.Repeat("\n", maxFileBytes), 0o600, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kek, err := ParseKEK("file:" + kekFile(t, tc.content, tc.mode))
			require.NoError(t, err)
			id, err := kek.Identify(t.Context(), testCluster)
			if tc.ok {
				require.NoError(t, err)
				require.Regexp(t, `^file:[0-9a-f]{16}$`, id.ID)
				return
			}
			require.ErrorIs(t, err, ErrKEK)
			require.NotContains(t, err.Error(), "aaaa", "the error tells digits of the key")
			_, err = kek.Wrap(t.Context(), testCluster, []byte("x"), nil)
			require.ErrorIs(t, err, ErrKEK)
			_, err = kek.Unwrap(t.Context(), testCluster, []byte("x"), nil)
			require.ErrorIs(t, err, ErrKEK)
		})
	}
}

func TestNoKeyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kek")
	kek, err := ParseKEK("file:" + path)
	require.NoError(t, err)
	_, err = kek.Identify(t.Context(), testCluster)
	require.ErrorIs(t, err, ErrKEK)
	require.ErrorIs(t, err, os.ErrNotExist)

	require.NoError(t, syscall.Mkfifo(path, 0o600))
	_, err = kek.Identify(t.Context(), testCluster) // and does not wait for a writer
	require.ErrorContains(t, err, "not a regular file")
	require.NoError(t, os.Remove(path))

	require.NoError(t, os.WriteFile(path, []byte(keyOf("b")), 0o600))
	_, err = kek.Identify(t.Context(), testCluster)
	require.NoError(t, err, "a file that appears later is read")
}

func TestKeyID(t *testing.T) {
	t.Parallel()
	a, err := kekOf(t, keyOf("a")).Identify(t.Context(), testCluster)
	require.NoError(t, err)
	same, err := kekOf(t, keyOf("A")+"\n").Identify(t.Context(), testCluster)
	require.NoError(t, err)
	b, err := kekOf(t, keyOf("b")).Identify(t.Context(), testCluster)
	require.NoError(t, err)
	require.Equal(t, a, same, "the key names itself, not its file")
	require.NotEqual(t, a, b)
	require.Equal(t, "file:0f1e46dc07ff8a89", a.ID, "the ID of a key must never change")
}

func TestWrap(t *testing.T) {
	t.Parallel()
	kek, other := kekOf(t, keyOf("a")), kekOf(t, keyOf("b"))
	wrapped, err := kek.Wrap(t.Context(), testCluster, []byte("root"), []byte("here"))
	require.NoError(t, err)
	plain, err := kek.Unwrap(t.Context(), testCluster, wrapped, []byte("here"))
	require.NoError(t, err)
	require.Equal(t, "root", string(plain))
	_, err = kek.Unwrap(t.Context(), testCluster, wrapped, []byte("there"))
	require.ErrorIs(t, err, ErrOpen)
	_, err = other.Unwrap(t.Context(), testCluster, wrapped, []byte("here"))
	require.ErrorIs(t, err, ErrOpen)
}
