package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// onText calls something when a text is written.
type onText struct {
	bytes.Buffer

	text string
	call func()
}

func (o *onText) Write(p []byte) (int, error) {
	if o.call != nil && bytes.Contains(p, []byte(o.text)) {
		o.call()
		o.call = nil
	}
	return o.Buffer.Write(p)
}

// validatorFolder is a folder of two keystores in the layout of Teku.
func validatorFolder(t *testing.T) folder {
	t.Helper()
	f := newFolder(t)
	for n := range byte(2) {
		key := foreignKey(t, n+1)
		f.put(key.PublicKey().String()+".json", encrypted(t, key))
		f.put(key.PublicKey().String()+".txt", []byte("correct horse"))
	}
	f.put("slashing-protection.json", []byte(`{"metadata":{"interchange_format_version":"5"},"data":[]}`))
	return f
}

func TestKeysCheck(t *testing.T) {
	t.Parallel()
	first := foreignKey(t, 1).PublicKey().String()
	tests := map[string]struct {
		change func(folder)
		args   []string
		code   int
		says   string
	}{
		"all open":          {nil, nil, ExitOK, "2 keystores in "},
		"as many as wanted": {nil, []string{"--keys", "2"}, ExitOK, first},
		"too few":           {nil, []string{"--keys", "3"}, ExitFailure, "2 keys in"},
		"wrong password":    {func(f folder) { f.put(first+".txt", []byte("battery staple")) }, nil, ExitFailure, first},
		"no password":       {func(f folder) { require.NoError(f, os.Remove(filepath.Join(f.path, first+".txt"))) }, nil, ExitFailure, first},
		"damaged":           {func(f folder) { f.put(first+".json", []byte(`{"crypto":`)) }, nil, ExitFailure, first},
		"bad number":        {nil, []string{"--keys", "-1"}, ExitUsage, "want 0 or more"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := validatorFolder(t)
			if test.change != nil {
				test.change(f)
			}
			got := shell{}.run(t, append([]string{"keys", "check", f.path}, test.args...)...)
			require.Equal(t, test.code, got.code, got.err)
			require.Contains(t, got.out+got.err, test.says)
			require.NotContains(t, got.out+got.err, "correct horse")
		})
	}
	got := shell{}.run(t, "keys", "check", t.TempDir())
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "no keystore")
	got = shell{}.run(t, "keys", "check", "/nowhere")
	require.Equal(t, ExitFailure, got.code)
}

func TestKeysCheckGoesOn(t *testing.T) {
	t.Parallel()
	// watch calls something once the keystores were opened, and returns how it ended.
	watch := func(t *testing.T, f folder, then func(stop context.CancelFunc)) (int, string) {
		t.Helper()
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		a := &app{lookupEnv: func(string) (string, bool) { return "", false }, terminal: func(io.Writer) bool { return false }}
		root := a.root()
		var errs strings.Builder
		root.SetArgs([]string{"keys", "check", f.path, "--every", "1ms"})
		root.SetOut(&onText{text: "can be opened", call: func() { then(stop) }})
		root.SetErr(&errs)
		return Run(ctx, root), errs.String()
	}
	t.Run("until it is told to end", func(t *testing.T) {
		t.Parallel()
		code, said := watch(t, validatorFolder(t), func(stop context.CancelFunc) { stop() })
		require.Equal(t, ExitOK, code, said)
	})
	t.Run("until a key is gone", func(t *testing.T) {
		t.Parallel()
		f := validatorFolder(t)
		code, said := watch(t, f, func(context.CancelFunc) {
			require.NoError(t, os.Remove(filepath.Join(f.path, foreignKey(t, 1).PublicKey().String()+".json")))
		})
		require.Equal(t, ExitFailure, code)
		require.Contains(t, said, "other keys")
	})
	t.Run("until a password is wrong", func(t *testing.T) {
		t.Parallel()
		f := validatorFolder(t)
		code, said := watch(t, f, func(context.CancelFunc) { f.put(foreignKey(t, 1).PublicKey().String()+".txt", []byte("x")) })
		require.Equal(t, ExitFailure, code)
		require.Contains(t, said, foreignKey(t, 1).PublicKey().String())
	})
}
