package cli

import (
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keysteward/keysteward/client/clienttest"
)

// heard ends a context when a text was written.
type heard struct {
	strings.Builder

	text string
	end  context.CancelFunc
}

// Write implements io.Writer.
func (h *heard) Write(p []byte) (int, error) {
	n, err := h.Builder.Write(p)
	if strings.Contains(h.String(), h.text) {
		h.end()
	}
	return n, err
}

// What may wait for ever says for whom and why, at once and not again and again, unless
// it is to be quiet.
func TestPatientCommandsSayWhatTheyWaitFor(t *testing.T) {
	t.Parallel()
	file, _ := backupFile(t)
	path := writeFile(t, string(file))
	token := clienttest.Start(t, 1).TokenFile()
	for name, args := range map[string][]string{
		"backup":       {"backup", "--output", filepath.Join(t.TempDir(), "x")},
		"backup -":     {"backup", "--output", "-"},
		"restore":      {"restore", path, "--yes"},
		"audit verify": {"audit", "verify"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const server = "http://127.0.0.1:1" // where nobody listens
			args := append(args, "--server", server, "--token-file", token)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			errs := &heard{text: "connection refused", end: cancel}
			a := &app{version: "v1", now: time.Now, command: func() string { return commandName }, terminal: func(io.Writer) bool { return false }, lookupEnv: func(string) (string, bool) { return "", false }}
			root := a.root()
			root.SetArgs(args)
			root.SetOut(io.Discard)
			root.SetErr(errs)
			require.NotZero(t, Run(ctx, root))
			require.ErrorIs(t, ctx.Err(), context.Canceled, "it was told while it waited")
			require.Contains(t, errs.String(), "waiting for an answer of "+server+", trying again: ")

			got := shell{}.run(t, append(args, "--timeout", "5s")...)
			require.NotZero(t, got.code)
			require.Equal(t, 1, strings.Count(got.err, "waiting for"), got.err)
			got = shell{}.run(t, append(args, "--timeout", "300ms", "--quiet")...)
			require.NotZero(t, got.code)
			require.NotContains(t, got.err, "waiting for")
		})
	}
}
